package durable

import "os"

// disk is what a power cut asks about: the steps whose order matters.
type disk interface {
	sync(f *os.File) error
	rename(from, to string) error
	syncDir(dir string) error
}

type osDisk struct{}

func (osDisk) sync(f *os.File) error        { return f.Sync() }
func (osDisk) rename(from, to string) error { return os.Rename(from, to) }
func (osDisk) syncDir(dir string) error     { return SyncDir(dir) }

// noDisk waits for no disk.
type noDisk struct{ osDisk }

func (noDisk) sync(*os.File) error  { return nil }
func (noDisk) syncDir(string) error { return nil }
