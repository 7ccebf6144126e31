package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// namespace is what signatures of releases are made for, so that they count for nothing else.
const namespace = "release@sealbuild.io"

// sums writes SHA256SUMS of every file of the release, and its signature as bundles are signed: by OpenSSH.
func (r release) sums(ctx context.Context) error {
	list := filepath.Join(r.out, "SHA256SUMS")
	for _, old := range []string{list, list + ".sig"} {
		if err := os.Remove(old); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	found, err := os.ReadDir(r.out)
	if err != nil {
		return err
	}
	var b strings.Builder
	for _, f := range found {
		if strings.HasPrefix(f.Name(), ".") {
			continue
		}
		sum, err := sumOf(filepath.Join(r.out, f.Name()))
		if err != nil {
			return err
		}
		fmt.Fprintf(&b, "%s  %s\n", sum, f.Name())
	}
	if err := put(list, []byte(b.String()), 0o644); err != nil {
		return err
	}
	if r.key == "" {
		fmt.Printf("release: %s is NOT SIGNED; SIGN=KEYFILE signs it\n", list)
		return nil
	}
	if _, err := output(exec.CommandContext(ctx, "ssh-keygen", "-Y", "sign", "-n", namespace, "-f", r.key, list)); err != nil {
		return fmt.Errorf("sign %s: %w", list, err)
	}
	fmt.Printf("release: %s.sig signs it, in the namespace %s\n", list, namespace)
	return nil
}

func sumOf(name string) (string, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
