// Registry is the distribution registry with the two drivers that a rootfs made
// for sealos configures. Its own cmd/registry is the same and five clouds.
package main

import (
	"os"

	"github.com/distribution/distribution/v3/registry"
	_ "github.com/distribution/distribution/v3/registry/auth/htpasswd"             // auth.htpasswd
	_ "github.com/distribution/distribution/v3/registry/storage/driver/filesystem" // storage.filesystem
)

func main() {
	if err := registry.RootCmd.Execute(); err != nil {
		os.Exit(1)
	}
}
