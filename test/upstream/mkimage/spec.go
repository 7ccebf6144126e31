package main

import (
	"io/fs"
	"path"
)

// image describes one container image: what it is called and what it holds.
type image struct {
	name       string   // full reference, tag included
	arches     []string // more than one makes an image index
	layers     []layer
	entrypoint []string
	cmd        []string
	ports      []string // "8080/tcp"
	user       string   // whom its process runs as; root when empty
	labels     map[string]string
}

// layer is a list of files, written in one deterministic archive. Layers that
// hold the same files get the same digest, so images share them.
type layer struct {
	comment string
	files   []file
	// closure adds, from the extracted Debian packages, these paths (shell
	// patterns allowed) and every shared library they need.
	closure []string
	// busybox adds busybox and a link to it in bin under every name it knows,
	// except these.
	busybox bool
	without []string
}

// file is one entry of a layer. Exactly one of from, link, content and dir is
// its substance.
type file struct {
	path    string
	from    string // below the input directory; {arch} is the architecture
	link    string // target of a symbolic link
	content string
	dir     bool
	mode    fs.FileMode // permission bits as tar has them: 0o4755 sets the user on execution
}

func directory(p string, mode fs.FileMode) file { return file{path: p, dir: true, mode: mode} }

func program(p, from string) file { return file{path: p, from: from, mode: 0o755} }

func symlink(p, target string) file { return file{path: p, link: target, mode: 0o777} }

func text(p, content string) file { return file{path: p, content: content, mode: 0o644} }

// applets are links to a multi-call program under each of its names.
func applets(dir, target string, names ...string) []file {
	var files []file
	for _, name := range names {
		files = append(files, symlink(path.Join(dir, name), target))
	}
	return files
}
