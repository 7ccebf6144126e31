package support

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"filippo.io/age"
	"filippo.io/age/agessh"
)

// Recipients are those who can open a bundle.
type Recipients []age.Recipient

// Recipients reads who may open a bundle: each text is a public key (age1…, ssh-ed25519 …, ssh-rsa …), or a file of such lines.
func ReadRecipients(texts []string) (Recipients, error) {
	var out Recipients
	for _, text := range texts {
		if isKey(text) {
			r, err := parseRecipient(text)
			if err != nil {
				return nil, err
			}
			out = append(out, r)
			continue
		}
		of, err := recipientsOf(text)
		if err != nil {
			return nil, err
		}
		out = append(out, of...)
	}
	return out, nil
}

// ReadRecipientsDir reads the files of a directory; none where it is not there.
func ReadRecipientsDir(dir string) (Recipients, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("who may open the bundle is not known: %w", err)
	}
	var files []string
	for _, e := range entries {
		if !e.IsDir() && !strings.HasPrefix(e.Name(), ".") {
			files = append(files, filepath.Join(dir, e.Name()))
		}
	}
	return ReadRecipients(files)
}

func isKey(text string) bool {
	return strings.HasPrefix(text, "age1") || strings.HasPrefix(text, "ssh-")
}

func recipientsOf(file string) (out Recipients, err error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("%w: expected a public key (age1…, ssh-ed25519 …, ssh-rsa …) or a file of some", err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for n := 1; lines.Scan(); n++ {
		text := strings.TrimSpace(lines.Text())
		if text == "" || strings.HasPrefix(text, "#") {
			continue
		}
		r, err := parseRecipient(text)
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", file, n, err)
		}
		out = append(out, r)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read %s: %w", file, err)
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%s: there is no public key in it", file)
	}
	return out, nil
}

// parseRecipient reads a public key. The error does not repeat what may be a private one.
func parseRecipient(text string) (age.Recipient, error) {
	if strings.HasPrefix(text, "ssh-") {
		r, err := agessh.ParseRecipient(text)
		if err != nil {
			return nil, fmt.Errorf("no public key of ssh that can be encrypted to (ssh-ed25519, ssh-rsa of 2048 bits and more): %w", err)
		}
		return r, nil
	}
	all, err := age.ParseRecipients(strings.NewReader(text))
	if err != nil || len(all) != 1 {
		return nil, errors.New("no public key: expected age1…, ssh-ed25519 … or ssh-rsa …")
	}
	return all[0], nil
}

// Encrypt gives a writer whose content only the recipients can read; without any it passes on what it gets. It must be closed.
func (r Recipients) Encrypt(w io.Writer) (io.WriteCloser, error) {
	if len(r) == 0 {
		return passing{w}, nil
	}
	return age.Encrypt(w, r...)
}

type passing struct{ io.Writer }

func (passing) Close() error { return nil }
