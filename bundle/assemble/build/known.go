package build

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sealbuild/sealbuild/ground/durable"
)

// racy is how long a change may go unseen in a file's times: a digest of a file that changed within it is not remembered.
const racy = 2 * time.Second

// knownFile is what a file was when it was hashed.
type knownFile struct {
	Dev, Ino     uint64
	Size         int64
	Mtime, Ctime int64  // nanoseconds
	Sum          string // sha256, hex
}

func (k knownFile) same(o knownFile) bool {
	k.Sum, o.Sum = "", ""
	return k == o
}

func identity(f *os.File) (knownFile, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return knownFile{}, fmt.Errorf("stat %s: %w", f.Name(), err)
	}
	return knownFile{Dev: st.Dev, Ino: st.Ino, Size: st.Size, Mtime: st.Mtim.Nano(), Ctime: st.Ctim.Nano()}, nil
}

func readKnown(file string) map[string]knownFile {
	var known map[string]knownFile
	if raw, err := os.ReadFile(file); file != "" && err == nil {
		_ = json.Unmarshal(raw, &known)
	}
	return known
}

// writeKnown replaces the cache. A failure costs the next build time only.
func writeKnown(file string, sums map[string]knownFile) {
	if file == "" || len(sums) == 0 {
		return
	}
	sums = maps.Clone(sums)
	maps.DeleteFunc(sums, func(_ string, k knownFile) bool { return k.Ino == 0 })
	raw, err := json.Marshal(sums)
	if err != nil || os.MkdirAll(filepath.Dir(file), 0o755) != nil {
		return
	}
	_ = durable.WriteCache(file, raw, 0o600)
}
