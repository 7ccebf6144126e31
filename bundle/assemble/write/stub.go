package write

import (
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sealbuild/sealbuild/bundle"
	"github.com/sealbuild/sealbuild/bundle/assemble/store"
)

// StubError says that no installer was found, and where it was looked for.
type StubError struct {
	Platform string
	Tried    []string // "path: why not"
}

func (e *StubError) Error() string {
	return fmt.Sprintf("no sealinstall for %s; give one with --stub FILE. Looked at:\n  %s", e.Platform, strings.Join(e.Tried, "\n  "))
}

// Installer is the executable that goes in front of a bundle.
type Installer struct {
	platform string
	path     string // it is the first size bytes of this file
	size     int64
	digest   digest.Digest
	data     []byte // nil once it need not be in memory any more
}

func newInstaller(path string, platform v1.Platform, data []byte) Installer {
	return Installer{platform: store.Platform(platform), path: path, size: int64(len(data)), digest: digest.FromBytes(data), data: data}
}

// Forget gives up the bytes, tens of MiB: the bundle is written from the file.
func (i *Installer) Forget() { i.data = nil }

// stub opens the installer for a bundle's writer; close ends that.
func (i Installer) stub() (s bundle.Stub, close func() error, err error) {
	f, err := os.Open(i.path)
	if err != nil {
		return s, nil, fmt.Errorf("open the installer: %w", err)
	}
	return bundle.Stub{Platform: i.platform, Digest: i.digest, Size: i.size, Content: io.NewSectionReader(f, 0, i.size)}, f.Close, nil
}

// FindStubs finds the installer of each platform. What is given is for the first.
func FindStubs(given string, platforms []v1.Platform) ([]Installer, error) {
	var all []Installer
	for _, platform := range platforms {
		stub, err := FindStub(given, platform)
		if err != nil {
			return nil, err
		}
		all = append(all, stub)
		given = ""
	}
	return all, nil
}

// FindStub reads the installer of a platform: the file given, or the first that fits of those shipped with the running sealbuild.
func FindStub(given string, platform v1.Platform) (Installer, error) {
	path, err := findStub(given, platform)
	if err != nil {
		return Installer{}, err
	}
	data, err := readStub(path, platform)
	if err != nil {
		return Installer{}, fmt.Errorf("installer %s: %w", path, err)
	}
	return newInstaller(path, platform, data), nil
}

// CheckStubs finds the installer of each platform, as FindStubs does, and reads none.
func CheckStubs(given string, platforms []v1.Platform) error {
	for _, platform := range platforms {
		if _, err := findStub(given, platform); err != nil {
			return err
		}
		given = ""
	}
	return nil
}

func findStub(given string, platform v1.Platform) (path string, err error) {
	fits := func(path string) error {
		_, f, err := openStub(path, platform)
		if err != nil {
			return err
		}
		return f.Close()
	}
	if given != "" {
		if err := fits(given); err != nil {
			return "", fmt.Errorf("installer %s: %w", given, err)
		}
		return given, nil
	}
	self, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("find the installer: %w (give it with --stub FILE)", err)
	}
	if real, err := filepath.EvalSymlinks(self); err == nil {
		self = real
	}
	missing := &StubError{Platform: store.Platform(platform)}
	for _, path := range stubPlaces(filepath.Dir(self), platform) {
		err := fits(path)
		if err == nil {
			return path, nil
		}
		if pe, ok := errors.AsType[*os.PathError](err); ok {
			err = pe.Err
		}
		missing.Tried = append(missing.Tried, fmt.Sprintf("%s: %v", path, err))
	}
	return "", missing
}

// stubPlaces lists where installers are shipped: beside sealbuild, and in the libexec directory of an installed package.
func stubPlaces(dir string, p v1.Platform) []string {
	full := "sealinstall-" + strings.ReplaceAll(store.Platform(p), "/", "-")
	libexec := filepath.Join(filepath.Dir(dir), "libexec", "sealbuild")
	return []string{
		filepath.Join(dir, full),
		filepath.Join(dir, "sealinstall"),
		filepath.Join(libexec, full),
		filepath.Join(libexec, "sealinstall"),
	}
}

// readStub reads an installer and checks that it is an executable of the
// platform. One that is itself a bundle gives its stub alone.
func readStub(path string, platform v1.Platform) ([]byte, error) {
	content, f, err := openStub(path, platform)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	data := make([]byte, content.Size())
	if _, err := content.ReadAt(data, 0); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return data, nil
}

// openStub does it without reading more than the executable's header.
func openStub(path string, platform v1.Platform) (*io.SectionReader, *os.File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	content, err := stubIn(f, platform)
	if err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	return content, f, nil
}

func stubIn(f *os.File, platform v1.Platform) (*io.SectionReader, error) {
	fi, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !fi.Mode().IsRegular() {
		return nil, errors.New("not a regular file")
	}
	content := io.NewSectionReader(f, 0, fi.Size())
	whole, err := bundle.Open(f, fi.Size())
	switch {
	case err == nil:
		content = whole.Stub()
	case !errors.Is(err, bundle.ErrNotBundle):
		return nil, err
	}
	if content.Size() > bundle.MaxStubSize {
		return nil, fmt.Errorf("%d bytes are more than an installer may have (%d)", content.Size(), int64(bundle.MaxStubSize))
	}
	return content, checkMachine(content, platform)
}

// checkMachine compares an ELF header with a platform.
func checkMachine(r io.ReaderAt, p v1.Platform) error {
	f, err := elf.NewFile(r)
	if err != nil {
		return fmt.Errorf("not a Linux executable: %w", err)
	}
	machines := map[elf.Machine]string{
		elf.EM_X86_64: "amd64", elf.EM_AARCH64: "arm64", elf.EM_ARM: "arm", elf.EM_386: "386",
		elf.EM_RISCV: "riscv64", elf.EM_S390: "s390x", elf.EM_PPC64: "ppc64le", elf.EM_LOONGARCH: "loong64",
	}
	if got := machines[f.Machine]; got != p.Architecture {
		return fmt.Errorf("built for %s (%s), not for %s", f.Machine, got, p.Architecture)
	}
	if f.Type != elf.ET_EXEC && f.Type != elf.ET_DYN {
		return fmt.Errorf("an ELF file of type %s is no executable", f.Type)
	}
	return nil
}
