package wanted

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/sealbuild/sealbuild/cmd/sealinstall/usage"
	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/ledger"
)

// record is what this machine knows of a cluster that was made before.
type record struct {
	*installer.Cluster        // as the last run left it, or tried to
	file               string // where it stands
	// finished is the cluster as the last run that came to its end made it: its settings are those in force. nil when none did.
	finished *installer.Cluster
}

// recorded reads the record of a cluster: that of this machine or, on a master, the one that every master keeps, where that
// is newer: another machine has worked on the cluster since. nil means that there is none.
func (o *Options) recorded(name string) (*record, error) {
	dir, err := installer.StateDir(name)
	if err != nil {
		return nil, err
	}
	onMaster := ledger.RecordOnMaster
	if o.onMaster != nil {
		onMaster = o.onMaster
	}
	var newest *record
	for _, file := range []string{filepath.Join(dir, ledger.ClusterfileName), onMaster(name)} {
		c, err := readRecorded(file)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, unreadable(name, err)
		}
		r := &record{Cluster: c, file: file}
		if c.Finished() {
			r.finished = c
		} else {
			before, err := readRecorded(filepath.Join(filepath.Dir(file), ledger.LastClusterfileName))
			if err == nil {
				r.finished = before
			} else if !errors.Is(err, fs.ErrNotExist) {
				return nil, unreadable(name, err)
			}
		}
		if newest == nil || newest.Finished() && c.Finished() && c.Status.WroteAt().After(newest.Status.WroteAt()) {
			newest = r
		}
	}
	if newest != nil && newest.finished != nil {
		newest.MarkRecorded(newest.finished)
	}
	return newest, nil
}

// readRecorded reads what an earlier run wrote; it is no template.
func readRecorded(name string) (*installer.Cluster, error) { return new(files).read(name) }

// completed checks what a cluster must have before hosts are asked.
func completed(c *installer.Cluster, err error) (*installer.Cluster, error) {
	if err != nil {
		return nil, err
	}
	if err := c.Complete(); err != nil {
		return nil, usage.Error{Err: err}
	}
	return c, nil
}

// unreadable is a record that lies there and says nothing.
func unreadable(cluster string, err error) error {
	return fmt.Errorf("read the record of cluster %s: %w; every master has a copy of it", cluster, err)
}
