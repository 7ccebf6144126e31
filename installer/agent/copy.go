package agent

import (
	"context"
	"io/fs"

	"github.com/opencontainers/go-digest"
)

// CopyEntry is a file, a directory or a symbolic link as it should be on a host.
type CopyEntry struct {
	Path   string        `json:"p"` // below the destination, with slashes; "." is the destination itself
	Mode   fs.FileMode   `json:"m"` // type and permissions; of a link only the type counts
	Time   int64         `json:"t"` // of the last change of its content, in nanoseconds since 1970; not of a link
	Size   int64         `json:"s,omitempty"`
	Digest digest.Digest `json:"d,omitempty"` // of a file that is not empty
	Link   string        `json:"l,omitempty"` // what a link holds
}

// CopyRequest is a file, or a directory with all it holds, as it should be on a host. The first entry is the destination itself,
// and directories come before what lies in them.
type CopyRequest struct {
	To      string      `json:"to"` // absolute; a link to a file or directory is followed
	Entries []CopyEntry `json:"entries"`
}

// CopyPlace is where the content of files is to be sent.
type CopyPlace struct {
	// Store is a directory on the file system of the destination, in the form of a registry's store: what an interrupted copy
	// left there is gone on with, and content that the destination has already is in it.
	Store string `json:"store"`
	Same  int    `json:"same"` // files that have their content already
}

// CopyResult tells what was done.
type CopyResult struct {
	Changed int `json:"changed"` // files, directories and links made or replaced
}

// PrepareCopy makes room for a copy. It changes nothing of the destination. What stands in the way is an error: a parent that is
// missing, a file where a directory has to be or the other way round, a disk without room.
func (a *Agent) PrepareCopy(ctx context.Context, q CopyRequest) (CopyPlace, error) {
	return ask[CopyPlace](ctx, a, VerbCopyPrepare, q)
}

// PlaceCopy gives the files in the store of [Agent.PrepareCopy] their names. Each file appears in one step, and a directory that
// was not there appears whole. The store stays, for other hosts that take from it.
func (a *Agent) PlaceCopy(ctx context.Context, q CopyRequest) (CopyResult, error) {
	return ask[CopyResult](ctx, a, VerbCopyPlace, q)
}
