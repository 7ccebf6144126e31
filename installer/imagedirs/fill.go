// Package imagedirs is the directories of hosts that cluster images are unpacked into: their layers, the rendered files
// that lie over them, and what check scripts changed there.
package imagedirs

import (
	"context"
	"errors"
	"io"
	"strings"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/fleet"
	"github.com/sealbuild/sealbuild/installer/journal"
	"github.com/sealbuild/sealbuild/installer/payload"
	"github.com/sealbuild/sealbuild/installer/site"
)

// Dirs fills the directories of hosts that images are unpacked into.
type Dirs struct{ *site.Site }

// marksUpon are the marks of work that was done with the files of a directory of images. They are taken back when the
// directory is changed. replaced says that all its files are exchanged, with those that scripts and commands made there.
func (d Dirs) marksUpon(t *fleet.Target, dir string, replaced bool) []string {
	var out []string
	if dir == d.RootfsDir() {
		out = []string{journal.Images, journal.Rendered, journal.Checked, journal.Registry, journal.Init}
	}
	for _, i := range d.Share(t).Here() {
		if i.Dir != dir || !replaced {
			continue
		}
		// The mark of an application's commands stays: it says with which inputs they ran. Commands that were cut off begin anew.
		if i.Type != installer.TypeApplication || strings.Contains(t.Journal.Of(journal.Guest(i.DirName())), "/") {
			out = append(out, journal.Guest(i.DirName()))
		}
	}
	return out
}

// Fill brings a host the layers of a directory that it lacks, and takes the marks of work with the old files back before.
// sent is in bytes.
func (d Dirs) Fill(ctx context.Context, t *fleet.Target, dir string) (changes int, sent int64, err error) {
	layers, want := d.wanted(t, dir)
	if len(layers) == 0 {
		return 0, 0, nil
	}
	place, err := t.Agent.PrepareLayers(ctx, want)
	if err != nil {
		return 0, 0, err
	}
	if !place.Beside && place.Have < len(layers) {
		if err := t.Journal.Drop(ctx, d.marksUpon(t, dir, false)...); err != nil {
			return 0, 0, err
		}
	}
	changes, sent, err = d.sendLayers(ctx, t, want, layers, place)
	if err != nil {
		return changes, sent, err
	}
	if place.Beside {
		if err := t.Journal.Drop(ctx, d.marksUpon(t, dir, true)...); err != nil {
			return changes, sent, err
		}
		if err := t.Agent.SwitchLayers(ctx, want); err != nil {
			return changes, sent, err
		}
		changes++
	}
	if dir != d.RootfsDir() {
		return changes, sent, nil
	}
	_, err = t.Journal.Under(ctx, journal.Images, d.Share(t).Description(), func(*journal.Work) error { return nil })
	return changes, sent, err
}

// wanted are the layers that a directory of a host is to have, and the request for them.
func (d Dirs) wanted(t *fleet.Target, dir string) ([]payload.Layer, agent.Layers) {
	layers, executable := d.Share(t).Layers(dir)
	want := agent.Layers{Dir: dir, Exclude: []string{"registry"}, Executable: executable}
	for _, l := range layers {
		want.Digests = append(want.Digests, l.DiffID)
	}
	return layers, want
}

// sendLayers unpacks the layers that a place on a host lacks, and gives their number and the bytes that were sent.
func (d Dirs) sendLayers(ctx context.Context, t *fleet.Target, want agent.Layers, layers []payload.Layer, place agent.LayersPlace) (
	changes int, sent int64, err error,
) {
	var told func(bytes int64)
	if place.Have < len(layers) {
		var travels int64
		for _, l := range layers[place.Have:] {
			travels += d.Payload.Travels(l)
		}
		what := "unpacks an application"
		if strings.HasPrefix(want.Dir, d.RootfsDir()) {
			what = "unpacks the rootfs"
		}
		work := d.Report.Does(t.IP.String(), what, travels)
		defer func() { work.End(err) }()
		told = work.Did
	}
	for n := place.Have; n < len(layers); n++ {
		size, err := d.sendLayer(ctx, t, want, layers, n, place.Beside, told)
		sent += size
		if err != nil {
			return changes, sent, err
		}
		changes++
	}
	return changes, sent, nil
}

// sendLayer unpacks layer n on a host, upon those before it. sent is in bytes.
func (d Dirs) sendLayer(
	ctx context.Context, t *fleet.Target, want agent.Layers, layers []payload.Layer, n int, beside bool, told func(bytes int64),
) (sent int64, err error) {
	stream, format, err := d.Payload.Open(layers[n])
	if err != nil {
		return 0, err
	}
	counted := &countingReader{r: stream, told: told}
	if c, ok := stream.(io.Closer); ok {
		defer func() { err = errors.Join(err, c.Close()) }()
	}
	err = t.Agent.Unpack(ctx, agent.UnpackRequest{
		Dir: want.Dir, Beside: beside, Digest: want.Digests[n], Format: format, Upon: want.Digests[:n], Exclude: want.Exclude, Executable: want.Executable,
	}, counted)
	return counted.n, err
}

type countingReader struct {
	r    io.Reader
	n    int64
	told func(bytes int64)
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	c.told(int64(n))
	return n, err
}
