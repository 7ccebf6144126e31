// Image-cri-shim stands between kubelet and the container runtime's image
// service, as the program of that name in images made for sealos does: an image
// that the cluster's registry has is pulled from there, under the registry's
// name and without the domain it came from; every other name passes unchanged.
//
//	image-cri-shim -f /etc/image-cri-shim.yaml
package main

import (
	"flag"
	"fmt"
	"io/fs"
	"log"
	"net"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"go.yaml.in/yaml/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// config is the file as sealos writes it; keys that only tune its program are not read.
type config struct {
	Shim    string `yaml:"shim"`    // the socket to listen on
	CRI     string `yaml:"cri"`     // the socket of the runtime
	Address string `yaml:"address"` // http://sealos.hub:5000
	Auth    string `yaml:"auth"`    // user:password
}

func main() {
	log.SetFlags(0) // the journal has the time
	file := flag.String("f", "/etc/image-cri-shim.yaml", "configuration")
	flag.Parse()
	if err := run(*file); err != nil {
		log.Fatal(err)
	}
}

func run(file string) error {
	c, err := readConfig(file)
	if err != nil {
		return err
	}
	runtime, err := grpc.NewClient("unix://"+c.CRI, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return fmt.Errorf("connect to the runtime: %w", err)
	}
	defer runtime.Close()
	// One that was killed leaves its socket behind.
	if err := os.Remove(c.Shim); err != nil && !os.IsNotExist(err) {
		return err
	}
	listener, err := net.Listen("unix", c.Shim)
	if err != nil {
		return err
	}
	if err := os.Chmod(c.Shim, fs.FileMode(0o660)); err != nil {
		return err
	}
	server := grpc.NewServer()
	runtimeapi.RegisterImageServiceServer(server, &shim{
		runtime:  runtimeapi.NewImageServiceClient(runtime),
		registry: newRegistry(c.Address, c.Auth),
	})
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, os.Interrupt)
	go func() {
		<-signals
		server.Stop()
	}()
	log.Printf("listening on %s; images of %s come first, the runtime is %s", c.Shim, c.Address, c.CRI)
	return server.Serve(listener)
}

func readConfig(file string) (config, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return config{}, err
	}
	var c config
	if err := yaml.Unmarshal(data, &c); err != nil {
		return config{}, fmt.Errorf("read %s: %w", file, err)
	}
	c.Shim, c.CRI = strings.TrimPrefix(c.Shim, "unix://"), strings.TrimPrefix(c.CRI, "unix://")
	if c.Shim == "" || c.CRI == "" || c.Address == "" {
		return config{}, fmt.Errorf("read %s: shim, cri and address must be there", file)
	}
	return c, nil
}
