package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/sealbuild/sealbuild/bundle"
	"github.com/sealbuild/sealbuild/cmd/sealinstall/usage"
)

// trustDir is the operator's: files of public keys or allowed_signers. When
// there are any, every bundle has to be signed by one of them.
const (
	trustDir         = "/etc/sealbuild/trust.d" //docs:file here: keys that a bundle must be signed by; read, never written
	trustDirVariable = "SEALBUILD_TRUST_DIR"    //docs:env sealinstall: directory of keys in place of /etc/sealbuild/trust.d; it must hold some
)

// openBundle opens the bundle: the file asked for, or this program itself.
// Before anything of it is used, its signature is checked if anybody demands one.
func (o *runOptions) openBundle() (f *bundle.File, err error) {
	name := o.bundle
	if name == "" {
		if name, err = os.Executable(); err != nil {
			return nil, fmt.Errorf("find this program's own file: %w", err)
		}
	}
	f, err = bundle.OpenFile(name)
	if errors.Is(err, bundle.ErrNotBundle) && o.bundle == "" {
		return nil, fmt.Errorf("%s is the installer without a bundle behind it: run the file that sealbuild wrote, or name one with --bundle", name)
	}
	if errors.Is(err, bundle.ErrNotBundle) {
		return nil, fmt.Errorf("%s is no bundle: name a file that sealbuild wrote with --bundle (%w)", name, bundle.ErrNotBundle)
	}
	if err != nil {
		return nil, fmt.Errorf("no bundle to work with: %w", err)
	}
	if o.signer, err = o.checkSignature(f); err != nil {
		return nil, errors.Join(fmt.Errorf("open the bundle %s: %w; nothing of it was used", name, err), f.Close())
	}
	return f, nil
}

// checkSignature returns who signed the bundle, or "" when nobody asks.
func (o *runOptions) checkSignature(f *bundle.File) (string, error) {
	trust, from, err := o.trust()
	if err != nil || trust == nil {
		return "", err
	}
	signer, err := trust.Check(f.Reader, time.Now())
	switch {
	case errors.Is(err, bundle.ErrUnsigned):
		return "", fmt.Errorf("%w, and %s demand a signature: get the signed bundle, or have it built again with --sign", err, from)
	case errors.Is(err, bundle.ErrUntrusted):
		return "", fmt.Errorf("%w by %s: get the bundle from whom you trust, or, when the key is right, add it there", err, from)
	case errors.Is(err, bundle.ErrBadSignature):
		return "", fmt.Errorf("%w: it was changed after it was signed; get it again from its source", err)
	}
	return signer, err
}

// trust finds who has to have signed: the keys given, else those of the operator's directory, else those baked into this program
// when it opens another payload. The first source that has keys decides alone: keys inside a file must not widen what the operator
// trusts.
func (o *runOptions) trust() (t *bundle.Trust, from string, err error) {
	if len(o.verifyKeys) > 0 {
		t, err = bundle.LoadTrust(o.verifyKeys...)
		if err != nil {
			err = usage.Error{Err: err}
		}
		return t, "the keys of --verify-key", err
	}
	dir := os.Getenv(trustDirVariable)
	silent := false
	if dir == "" {
		// Only this directory says nothing when it is not there or empty. One with files says something, also if it cannot be read.
		dir = trustDir
		entries, err := os.ReadDir(dir)
		silent = errors.Is(err, fs.ErrNotExist) || err == nil && len(entries) == 0
	}
	if !silent {
		if t, err = bundle.LoadTrust(dir); err != nil {
			return nil, "", fmt.Errorf("whose signature the bundle needs is not known: %w", err)
		}
		return t, "the keys in " + dir, nil
	}
	if o.bundle == "" {
		return nil, "", nil
	}
	return bakedTrust()
}

// bakedTrust reads the keys behind this program.
func bakedTrust() (t *bundle.Trust, from string, err error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, "", fmt.Errorf("find this program's own file: %w", err)
	}
	own, err := bundle.OpenFile(exe)
	if errors.Is(err, bundle.ErrNotBundle) {
		return nil, "", nil
	}
	if err != nil {
		return nil, "", fmt.Errorf("read the keys baked into %s: %w", exe, err)
	}
	defer func() { err = errors.Join(err, own.Close()) }()
	keys := own.TrustKeys()
	if len(keys) == 0 {
		return nil, "", nil
	}
	t, err = bundle.ParseTrust(exe, []byte(strings.Join(keys, "\n")))
	return t, "the keys baked into " + exe, err
}
