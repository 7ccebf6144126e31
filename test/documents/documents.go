// Package documents reads the project's Markdown as its lint does: headings, links, blocks of code and the commands in them.
package documents

import (
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"unicode"
)

// Document is one Markdown file.
type Document struct {
	Path    string // below the root of the repository, with slashes
	Links   []Link
	Blocks  []Block
	Spans   []Span
	Anchors map[string]bool // what "#…" may name
}

// Link is a reference that a reader can follow.
type Link struct {
	Line   int
	Target string // as it is written, without a title
}

// Span is a piece of code within a line.
type Span struct {
	Line int
	Text string
}

// Block is a fenced block of code, with what the comment before it says of it.
type Block struct {
	Line    int    // of its first line of code
	Section string // the heading that it stands below
	Lang    string // behind the fence
	Text    string
	RunBy   []string // tests and scenarios that run its commands: <!-- run by: A, B -->
	NotRun  string   // why none does: <!-- not run: REASON -->
	Shows   string   // the file whose text it is: <!-- shows: PATH -->
}

// tops are, beside docs, the documents that are held to the rules: what a user reads.
var tops = []string{"README.md", "CHANGELOG.md", "CONTRIBUTING.md"}

// Generated is the directory of the pages that `make docs` writes.
const Generated = "docs/reference"

// All reads the documents of the repository at root: those at its top, and everything below docs.
func All(root string) ([]Document, error) {
	names := slices.Clone(tops)
	err := filepath.WalkDir(filepath.Join(root, "docs"), func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || filepath.Ext(name) != ".md" {
			return err
		}
		below, err := filepath.Rel(root, name)
		names = append(names, filepath.ToSlash(below))
		return err
	})
	if err != nil {
		return nil, err
	}
	var out []Document
	for _, name := range names {
		text, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(name)))
		if err != nil {
			return nil, err
		}
		d, err := Parse(name, string(text))
		if err != nil {
			return nil, err
		}
		out = append(out, d)
	}
	return out, nil
}

// Root is the repository that a test stands in, whose directory is below it.
func Root() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		above := filepath.Dir(dir)
		if above == dir {
			return "", fmt.Errorf("no go.mod above the working directory")
		}
		dir = above
	}
}

var (
	heading  = regexp.MustCompile(`^#{1,6} +(.*?)\s*$`)
	fence    = regexp.MustCompile("^\\s*(```+|~~~+)\\s*([A-Za-z0-9_-]*)")
	span     = regexp.MustCompile("`([^`]+)`")
	link     = regexp.MustCompile(`\]\(([^()\s]*(?:\([^()\s]*\)[^()\s]*)*)(?:\s+"[^"]*")?\)`)
	htmlLink = regexp.MustCompile(`(?:src|href)="([^"]*)"`)
	anchor   = regexp.MustCompile(`<a (?:id|name)="([^"]+)"`)
	about    = regexp.MustCompile(`^<!-- (run by|not run|shows): (.+?) -->$`)
)

// Parse reads a document.
func Parse(name, text string) (Document, error) {
	d := Document{Path: name, Anchors: map[string]bool{}}
	var open, section string // the fence that ends the block; the last heading
	var block Block
	var code []string
	for i, line := range strings.Split(text, "\n") {
		trimmed := strings.TrimSpace(line)
		if open != "" {
			if trimmed == open {
				block.Text = strings.Join(code, "\n")
				d.Blocks = append(d.Blocks, block)
				open, block, code = "", Block{}, nil
				continue
			}
			code = append(code, line)
			continue
		}
		if m := fence.FindStringSubmatch(line); m != nil {
			open, block.Lang, block.Line, block.Section = m[1], m[2], i+2, section
			continue
		}
		if m := about.FindStringSubmatch(trimmed); m != nil {
			block.say(m[1], m[2])
			continue
		}
		if trimmed != "" && (block.RunBy != nil || block.NotRun != "" || block.Shows != "") {
			return d, fmt.Errorf("%s:%d: a comment says who runs a block, and no block follows it", name, i+1)
		}
		if m := heading.FindStringSubmatch(line); m != nil {
			section = m[1]
		}
		d.line(i+1, line)
	}
	if open != "" {
		return d, fmt.Errorf("%s:%d: this block has no end", name, block.Line)
	}
	return d, nil
}

func (b *Block) say(key, value string) {
	switch key {
	case "run by":
		for name := range strings.SplitSeq(value, ",") {
			b.RunBy = append(b.RunBy, strings.TrimSpace(name))
		}
	case "not run":
		b.NotRun = value
	case "shows":
		b.Shows = value
	}
}

// line reads a line that is no code.
func (d *Document) line(number int, line string) {
	if m := heading.FindStringSubmatch(line); m != nil {
		d.addAnchor(slug(m[1]))
	}
	for _, m := range anchor.FindAllStringSubmatch(line, -1) {
		d.Anchors[m[1]] = true
	}
	for _, m := range span.FindAllStringSubmatch(line, -1) {
		d.Spans = append(d.Spans, Span{number, m[1]})
	}
	plain := span.ReplaceAllString(line, "")
	for _, pattern := range []*regexp.Regexp{link, htmlLink} {
		for _, m := range pattern.FindAllStringSubmatch(plain, -1) {
			d.Links = append(d.Links, Link{number, m[1]})
		}
	}
}

// addAnchor gives a heading the name that GitHub gives it: the second of a name gets -1, and so on.
func (d *Document) addAnchor(name string) {
	unique := name
	for n := 1; d.Anchors[unique]; n++ {
		unique = fmt.Sprintf("%s-%d", name, n)
	}
	d.Anchors[unique] = true
}

var linkText = regexp.MustCompile(`\[([^\]]*)\]\([^)]*\)`)

// slug is the anchor of a heading: letters, digits, - and _ in lower case, with - for spaces.
func slug(title string) string {
	title = linkText.ReplaceAllString(title, "$1")
	return strings.Map(func(r rune) rune {
		switch {
		case r == ' ':
			return '-'
		case r == '-' || r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r):
			return unicode.ToLower(r)
		}
		return -1
	}, title)
}

// Broken lists the links of documents that lead nowhere, each with its place. exists tells of a path below the root whether
// it is there; links to other sites are not followed.
func Broken(all []Document, exists func(string) bool) (out []string) {
	anchors := map[string]map[string]bool{}
	for _, d := range all {
		anchors[d.Path] = d.Anchors
	}
	for _, d := range all {
		for _, l := range d.Links {
			target, fragment, _ := strings.Cut(l.Target, "#")
			if strings.Contains(target, "://") || strings.HasPrefix(target, "mailto:") {
				continue
			}
			to := d.Path
			if target != "" {
				to = path.Join(path.Dir(d.Path), target)
			}
			switch {
			case !exists(to):
				out = append(out, fmt.Sprintf("%s:%d: the link %s leads to %s, which is not there", d.Path, l.Line, l.Target, to))
			case fragment != "" && anchors[to] != nil && !anchors[to][fragment]:
				out = append(out, fmt.Sprintf("%s:%d: the link %s leads to #%s, and %s has no such heading", d.Path, l.Line, l.Target, fragment, to))
			}
		}
	}
	return out
}
