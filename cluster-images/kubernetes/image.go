// Package kubernetes holds the scripts and templates of the rootfs image as files of a program: an older offline package is
// carried with them, since it has none of its own for the registry of a site and for the way back.
package kubernetes

import "embed"

// Files are scripts/ and etc/ of the image.
//
//go:embed scripts/*.sh etc/*.tmpl etc/sysctl.d/*.conf
var Files embed.FS
