package store

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"

	"github.com/sealbuild/sealbuild/ground/durable"
)

// Memo is a file that remembers what is known of a thing, so that it need not be found out again. The directory of these files may
// be removed at any time.
type Memo string

// Memo is the memo of the thing called name; kind says what sort of thing it is.
func (s *Store) Memo(kind, name string) Memo {
	sum := sha256.Sum256([]byte(name))
	return Memo(filepath.Join(s.root, "cache", kind+"-"+hex.EncodeToString(sum[:8])+".json"))
}

// Read takes what was remembered, and tells whether anything was.
func (m Memo) Read(v any) bool {
	raw, err := os.ReadFile(string(m))
	return err == nil && json.Unmarshal(raw, v) == nil
}

// Write remembers v; a failure costs time only.
func (m Memo) Write(v any) {
	raw, err := json.Marshal(v)
	if err != nil || os.MkdirAll(filepath.Dir(string(m)), 0o755) != nil {
		return
	}
	_ = durable.WriteCache(string(m), raw, 0o644)
}
