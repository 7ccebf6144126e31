package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/sealbuild/sealbuild/bundle"
	"github.com/sealbuild/sealbuild/bundle/assemble"
	"github.com/sealbuild/sealbuild/bundle/assemble/sbom"
	"github.com/sealbuild/sealbuild/bundle/assemble/summary"
	"github.com/sealbuild/sealbuild/bundle/assemble/write"
	"github.com/sealbuild/sealbuild/ground/durable"
)

// passphraseVariable is the environment variable that the passphrase of a signing key is read from.
const passphraseVariable = "SEALBUILD_SIGN_PASSPHRASE" //docs:env sealbuild: passphrase of the key of `--sign`

// bundleFlags are for the verbs that write a bundle.
type bundleFlags struct {
	stub, sign, passphraseFile, split, packages, report string
	trust, base, have                                   []string
	verify                                              bool
}

func (o *bundleFlags) register(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&o.stub, "stub", "", "installer to put in front (default: the sealinstall shipped beside sealbuild)")
	f.BoolVar(&o.verify, "verify", false, "read the finished bundle back from the disk and check every byte")
	f.StringVar(&o.sign, "sign", "", "sign with this OpenSSH private key; a public key means the one the ssh-agent holds")
	f.StringVar(&o.passphraseFile, "sign-passphrase-file", "", "file with the key's passphrase (default $"+passphraseVariable+", then a prompt)")
	f.StringArrayVar(&o.trust, "trust-key", nil, "public key file: the installer takes other payloads (--bundle) only when signed by it (repeatable)")
	f.StringVar(&o.split, "split", "", "cut the bundle into files of this SIZE, as 4GiB; FAT32 takes 4095MiB")
	f.StringVar(&o.packages, "sbom-packages", string(sbom.WhenThere), "list the packages inside the images in the bill of materials: always, never, or auto, if sealsbom is beside sealbuild")
	f.StringVar(&o.report, "report", "", "also write a page about the bundle to this FILE.html: what is in it, how large, who asks for it, what has changed since --base")
	f.StringArrayVar(&o.base, "base", nil, "leave out the images' blobs that this bundle, installed at the site, brought (repeatable)")
	f.StringArrayVar(&o.have, "have", nil, "leave out the images' blobs in this inventory of the site; of several, what all of them have")
}

// request reads what the flags name. Keys are opened here: what is missing or asked for comes up before anything takes long.
func (o *bundleFlags) request(ctx context.Context) (r assemble.BundleRequest, err error) {
	r.Stub, r.Verify, r.Packages = o.stub, o.verify, sbom.When(o.packages)
	if err := o.checkReport(); err != nil {
		return r, err
	}
	if !slices.Contains([]sbom.When{sbom.WhenThere, sbom.Always, sbom.Never}, r.Packages) {
		return r, usagef("--sbom-packages %q: expected auto, always or never", o.packages)
	}
	if o.split != "" {
		size, err := humanize.ParseBytes(o.split)
		if err != nil || size > 1<<60 {
			return r, usagef("--split %q: expected a size, as 4GiB or 700MB", o.split)
		}
		if size < bundle.MinPartSize {
			return r, usagef("--split %s: expected at least %s", o.split, humanize.IBytes(bundle.MinPartSize))
		}
		r.PartSize = int64(size)
	}
	if o.sign != "" {
		if r.Signer, err = bundle.LoadSigner(o.sign, o.passphrase); err != nil {
			return r, fmt.Errorf("--sign: %w", err)
		}
	}
	for _, name := range o.trust {
		if r.TrustKeys, err = trustLines(r.TrustKeys, name); err != nil {
			return r, fmt.Errorf("--trust-key: %w", err)
		}
	}
	r.Have, err = o.inventory(ctx)
	return r, err
}

func (o *bundleFlags) passphrase() ([]byte, error) {
	if o.passphraseFile != "" {
		data, err := os.ReadFile(o.passphraseFile)
		return []byte(strings.TrimRight(string(data), "\r\n")), err
	}
	if secret, ok := os.LookupEnv(passphraseVariable); ok {
		return []byte(secret), nil
	}
	if !term.IsTerminal(int(os.Stdin.Fd())) {
		return nil, fmt.Errorf("it is encrypted, and there is no terminal to ask on: set %s or give --sign-passphrase-file, or give the public key and an ssh-agent", passphraseVariable)
	}
	fmt.Fprintf(os.Stderr, "passphrase of %s: ", o.sign)
	defer fmt.Fprintln(os.Stderr)
	return term.ReadPassword(int(os.Stdin.Fd()))
}

// checkReport tells early, since a build takes minutes, that the page cannot be written.
func (o *bundleFlags) checkReport() error {
	if o.report == "" {
		return nil
	}
	if dir, err := os.Stat(filepath.Dir(o.report)); err != nil || !dir.IsDir() {
		return usagef("--report %s: %s is no directory", o.report, filepath.Dir(o.report))
	}
	return nil
}

// writeReport writes the page about a bundle that is written.
func (o *bundleFlags) writeReport(output string) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("the bundle is written, and the page about it is not: --report: %w", err)
		}
	}()
	f, err := bundle.OpenFile(output)
	if err != nil {
		return err
	}
	defer f.Close()
	var bases []summary.Base
	for _, name := range o.base {
		base, err := bundle.OpenFile(name)
		if err != nil {
			return err
		}
		defer base.Close()
		bases = append(bases, summary.Base{Name: filepath.Base(name), Reader: base.Reader})
	}
	made, err := summary.Page(filepath.Base(output), f.Reader, bases)
	if err != nil {
		return err
	}
	return durable.Write(o.report, made, 0o644)
}

// trustLines adds the lines of a file of public keys.
func trustLines(lines []string, name string) ([]string, error) {
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	if _, err := bundle.ParseTrust(name, data); err != nil {
		return nil, err
	}
	for line := range strings.SplitSeq(string(data), "\n") {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			lines = append(lines, line)
		}
	}
	return lines, nil
}

// inventory is what the site has: all that the bases brought, and what every inventory lists.
func (o *bundleFlags) inventory(ctx context.Context) (bundle.Inventory, error) {
	var have bundle.Inventory
	for n, name := range o.have {
		f, err := os.Open(name)
		if err != nil {
			return nil, fmt.Errorf("--have: %w", err)
		}
		v, err := bundle.ReadInventory(name, f)
		_ = f.Close()
		if err != nil {
			return nil, fmt.Errorf("--have: %w", err)
		}
		if n > 0 {
			v = v.And(have)
		}
		have = v
	}
	for _, name := range o.base {
		v, err := baseInventory(ctx, name)
		if err != nil {
			return nil, fmt.Errorf("--base: %w", err)
		}
		if have == nil {
			have = bundle.Inventory{}
		}
		maps.Copy(have, v)
	}
	return have, nil
}

func baseInventory(ctx context.Context, name string) (v bundle.Inventory, err error) {
	f, err := bundle.OpenFile(name)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return write.BaseInventory(ctx, f.Reader)
}
