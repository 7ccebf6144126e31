package layers

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/agent/files"
)

// layersDir is the place in a directory for the list of its layers, and for what is being unpacked.
const layersDir = ".layers"

// listName is the file that says what lies in a directory: the layers in their order, what was left out of them, and which is
// begun and not finished. Of a directory without it nothing is known.
const listName = "list"

// nextInside is the place for other layers in a directory that cannot be exchanged for another.
const nextInside = "next"

// layerList is what a list file says.
type layerList struct {
	settings  string // what was left out, and made executable
	layers    []digest.Digest
	unpacking digest.Digest // a layer that was begun upon the others
}

// maxList bounds a list file in bytes.
const maxList = 1 << 20

func check(q agent.Layers) error {
	if len(q.Digests) == 0 {
		return &agent.Error{Code: agent.CodeRefused, Message: "layers of " + q.Dir + ": none"}
	}
	return checkNames(q)
}

func checkNames(q agent.Layers) error {
	if err := files.CheckPath(q.Dir); err != nil {
		return err
	}
	for _, d := range q.Digests {
		if err := d.Validate(); err != nil {
			return &agent.Error{Code: agent.CodeRefused, Message: fmt.Sprintf("layers of %s: digest %q: %v", q.Dir, d, err)}
		}
	}
	for _, e := range q.Exclude {
		if e == "" || e == "." || path.Clean(e) != e || path.IsAbs(e) || strings.HasPrefix(e, "..") || strings.ContainsAny(e, "\n\x00") {
			return &agent.Error{Code: agent.CodeRefused, Message: fmt.Sprintf("layers of %s: exclude %q: want a clean relative path", q.Dir, e)}
		}
	}
	for _, e := range q.Executable {
		if strings.ContainsAny(e, "\n\x00") {
			return &agent.Error{Code: agent.CodeRefused, Message: fmt.Sprintf("layers of %s: executable %q: that is no path", q.Dir, e)}
		}
	}
	return nil
}

// settingsOf gives the lines of a list that say how layers are unpacked.
func settingsOf(q agent.Layers) string {
	var b strings.Builder
	for _, e := range slices.Sorted(slices.Values(q.Exclude)) {
		b.WriteString("exclude " + e + "\n")
	}
	for _, e := range slices.Sorted(slices.Values(q.Executable)) {
		b.WriteString("executable " + e + "\n")
	}
	return b.String()
}

func (l layerList) text() []byte {
	var b strings.Builder
	b.WriteString(l.settings)
	for _, d := range l.layers {
		b.WriteString("layer " + d.String() + "\n")
	}
	if l.unpacking != "" {
		b.WriteString("unpacking " + l.unpacking.String() + "\n")
	}
	return []byte(b.String())
}

// parseList reads a list file; ok is false if it is none.
func parseList(text []byte) (layerList, bool) {
	var l layerList
	for line := range strings.Lines(string(text)) {
		word, rest, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		switch {
		case l.unpacking != "":
			return layerList{}, false
		case (word == "exclude" || word == "executable") && len(l.layers) == 0:
			l.settings += line
		case word == "layer" && digest.Digest(rest).Validate() == nil:
			l.layers = append(l.layers, digest.Digest(rest))
		case word == "unpacking" && digest.Digest(rest).Validate() == nil:
			l.unpacking = digest.Digest(rest)
		default:
			return layerList{}, false
		}
	}
	return l, len(l.layers)+len(l.unpacking) > 0
}

// begins tells whether the layers that lie in a directory are the beginning of those that are wanted.
func (l layerList) begins(q agent.Layers) bool {
	n := len(l.layers)
	if l.settings != settingsOf(q) || n > len(q.Digests) || !slices.Equal(l.layers, q.Digests[:n]) {
		return false
	}
	return l.unpacking == "" || n < len(q.Digests) && q.Digests[n] == l.unpacking
}

// is tells whether exactly the layers that are wanted lie in a directory.
func (l layerList) is(q agent.Layers) bool {
	return l.begins(q) && len(l.layers) == len(q.Digests)
}

// layersIn reads the list of a directory. known is false if there is none.
func (m machine) layersIn(dir string) (l layerList, known bool, err error) {
	text, err := files.ReadRegular(m.Path(path.Join(dir, layersDir, listName)), maxList)
	if errors.Is(err, fs.ErrNotExist) || files.IsNotDir(err) {
		return layerList{}, false, nil
	}
	if err != nil {
		return layerList{}, false, fmt.Errorf("read the list of layers: %w", err)
	}
	l, known = parseList(text)
	return l, known, nil
}

func (m machine) writeList(dir string, l layerList) error {
	name := path.Join(dir, layersDir, listName)
	if err := os.MkdirAll(m.Path(path.Dir(name)), 0o755); err != nil {
		return fmt.Errorf("write the list of layers: %w", err)
	}
	if err := m.Replace(name, m.Path(name), files.DefaultMode, l.text(), nil); err != nil {
		return fmt.Errorf("write the list of layers: %w", err)
	}
	return nil
}

// dropList removes the list of a directory, before it becomes untrue.
func (m machine) dropList(dir string) error {
	_, err := m.RemoveFile(path.Join(dir, layersDir, listName))
	return err
}

// isFresh tells whether no layer was ever unpacked into a directory: it does not exist, or holds only lost+found and what is
// left out of layers.
func (m machine) isFresh(dir string, exclude []string) (bool, error) {
	entries, err := os.ReadDir(m.Path(dir))
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("look into %s: %w", dir, err)
	}
	for _, e := range entries {
		switch name := e.Name(); {
		case name == "lost+found", slices.Contains(exclude, name):
		case name == layersDir:
			// Earlier versions of this program had a file for each layer.
			marks, err := filepath.Glob(m.Path(path.Join(dir, layersDir, "*:*")))
			if err != nil || len(marks) > 0 {
				return false, err
			}
		default:
			return false, nil
		}
	}
	return true, nil
}

// hasMarks tells whether a directory holds exactly these layers by the files of earlier versions of this program: one for each
// layer, which says upon which others it lies. A layer that was begun has none, but a stage.
func (m machine) hasMarks(q agent.Layers) bool {
	entries, err := os.ReadDir(m.Path(path.Join(q.Dir, layersDir)))
	if err != nil {
		return false
	}
	want := map[string]string{}
	var before digest.Digest
	for _, d := range q.Digests {
		lines := slices.Sorted(slices.Values(q.Exclude))
		if before != "" {
			lines = append(lines, "after "+before.String())
		}
		want[d.String()] = strings.Join(append(lines, ""), "\n")
		before = digest.FromString(before.String() + " " + d.String())
	}
	for _, e := range entries {
		text, err := files.ReadRegular(m.Path(path.Join(q.Dir, layersDir, e.Name())), maxList)
		if mark, ok := want[e.Name()]; err != nil || !ok || mark != string(text) {
			return false
		}
	}
	return len(entries) == len(want)
}
