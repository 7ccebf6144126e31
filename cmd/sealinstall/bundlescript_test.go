package main

import (
	"flag"
	"io"
	"math/rand/v2"
	"os"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/sealbuild/sealbuild/bundle"
	"github.com/sealbuild/sealbuild/installer/steps/stepstest"
)

// makeBundle [flags] OUT writes a bundle like $BUNDLE: -sign KEY signs it, -trust
// PUB bakes a key in, -split cuts it, with 40 MiB more in it, -self puts this
// very program in front, -seed N makes another one, -application leaves the rootfs and
// the care image out.
func makeBundle(ts *testscript.TestScript, _ bool, args []string) {
	flags := flag.NewFlagSet("makebundle", flag.ContinueOnError)
	sign, trust := flags.String("sign", "", ""), flags.String("trust", "", "")
	split, self := flags.Bool("split", false, ""), flags.Bool("self", false, "")
	application := flags.Bool("application", false, "")
	seed := flags.Uint64("seed", 1, "")
	ts.Check(flags.Parse(args))
	o := bundle.WriterOptions{Stub: strings.NewReader("#!/bin/false\n")}
	if *self {
		exe, err := os.Executable()
		ts.Check(err)
		f, err := os.Open(exe)
		ts.Check(err)
		defer f.Close()
		o.Stub = f
	}
	if *sign != "" {
		signer, err := bundle.LoadSigner(ts.MkAbs(*sign), nil)
		ts.Check(err)
		o.Sign = signer.Sign
	}
	if *trust != "" {
		o.TrustKeys = []string{strings.TrimSpace(ts.ReadFile(*trust))}
	}
	images := stepstest.Cluster()
	if *application {
		images = []stepstest.Image{images[1], images[3]}
	}
	var out interface {
		io.Writer
		Close() error
	}
	name := ts.MkAbs(flags.Arg(0))
	var err error
	if *split {
		o.PartSize = bundle.MinPartSize
		out, err = bundle.CreateParts(name, o.PartSize)
		noise := make([]byte, 40<<20)
		_, _ = rand.NewChaCha8([32]byte{byte(*seed)}).Read(noise)
		images = append(images, stepstest.Image{Name: "example.com/noise:v1", Files: map[string]string{"noise": string(noise)}, Gzip: true})
	} else {
		out, err = os.Create(name)
	}
	ts.Check(err)
	ts.Check(stepstest.WriteWith(out, o, images))
	ts.Check(out.Close())
	ts.Check(os.Chmod(name, 0o755))
}
