package status

import (
	"encoding/json"
	"errors"
	"io/fs"
	"maps"
	"os"
	"slices"
	"time"

	"github.com/sealbuild/sealbuild/ground/count"
	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/preflight"
)

// maxLacks is how many digests are told of what a registry lacks.
const maxLacks = 10

// registry compares the blobs of the masters with each other and, if it is the bundle that the cluster was made with, with those of
// the bundle. What the bundle brings must be everywhere; what somebody has pushed to one master alone is told.
func (v *verdict) registry() {
	union := maps.Clone(v.images)
	if union == nil {
		union = map[string]bool{}
	}
	told := 0
	for _, a := range v.all.hosts {
		for digest := range a.blobs {
			union[digest] = true
		}
		if a.blobs != nil {
			told++
		}
		if a.store != nil && a.t.Looked {
			v.problem(a.t.IP.String(), "registry", "look at the directory that it names", "what its registry holds is not known: %s", installer.TellAt(a.store, a.t.IP.String()))
		}
	}
	if told == 0 {
		return
	}
	v.Registry = &Registry{Complete: true, Blobs: len(union), ByBundle: v.images != nil}
	for i, a := range v.all.hosts {
		if a.blobs == nil {
			continue
		}
		s := &Store{Answers: slices.Contains(a.t.Facts.PortsInUse, v.RegistryPort()), Blobs: len(a.blobs)}
		brought := 0
		for _, digest := range slices.Sorted(maps.Keys(union)) {
			size, has := a.blobs[digest]
			s.Bytes += size
			if has {
				continue
			}
			if s.Missing++; s.Missing <= maxLacks {
				s.Lacks = append(s.Lacks, "sha256:"+digest)
			}
			if v.images[digest] {
				brought++
			}
		}
		v.Hosts[i].Registry = s
		if !s.Answers && a.t.Looked {
			v.problem(v.Hosts[i].Address, "registry", "run the installation again: it starts what was stopped", "its registry does not answer: nothing listens on port %d", v.RegistryPort())
		}
		switch {
		case brought > 0:
			v.problem(v.Hosts[i].Address, "registry", "run the installation again: it sends what is missing", "its registry lacks %d of the %s of the bundle", brought, count.Of(len(v.images), "blob"))
		case s.Missing > 0:
			v.warn("%s: its registry lacks %s that another master has; what was pushed to one master is lost with it", v.Hosts[i].Address, count.Of(s.Missing, "blob"))
		}
		v.Registry.Complete = v.Registry.Complete && s.Missing == 0
	}
}

// figure is how much room a file system had at some time.
type figure struct {
	At   time.Time `json:"at"`
	Free uint64    `json:"free"`
}

const (
	figuresFile = "disks.json"     //docs:file here ~/.sealos/<cluster>/disks.json: how full disks were at an earlier `status`
	leastApart  = 10 * time.Minute // figures that are closer say nothing of a trend
	keepFigure  = 24 * time.Hour
)

// disks adds how full the file systems are and, where an earlier status has left figures, when they will be full.
func (v *verdict) disks() {
	old, err := v.figures()
	if err != nil {
		v.warn("when disks will be full is not known: %s", installer.Tell(err))
	}
	next := map[string]figure{}
	for i, a := range v.all.hosts {
		if !a.t.Looked || !a.t.Joined() {
			continue
		}
		h := &v.Hosts[i]
		v.Problems = append(v.Problems, preflight.FullDisks(preflight.Host{
			IP: h.Address, Master: a.t.Master, Facts: a.t.Facts, Needs: preflight.Needs{Places: a.places}, Settings: a.kubelet,
		})...)
		for _, d := range disksOf(a) {
			key := h.Address + " " + d.Path
			was, known := old[key]
			d.Full = fullAt(was, figure{v.at, d.Free})
			if next[key] = was; !known || v.at.Sub(was.At) > keepFigure {
				next[key] = figure{v.at, d.Free}
			}
			if left := d.Full.Sub(v.at); !d.Full.IsZero() && left < soon {
				v.warn("%s: %s will be full in %s, if it fills as it does", h.Address, d.Path, about(left.Round(time.Minute)))
			}
			h.Disks = append(h.Disks, d)
		}
	}
	for key, was := range old { // of hosts that do not answer now
		if _, ok := next[key]; !ok && v.at.Sub(was.At) < 30*keepFigure {
			next[key] = was
		}
	}
	text, err := json.Marshal(next)
	if err == nil && !maps.Equal(next, old) {
		err = v.State.Write(figuresFile, 0o600, text)
	}
	if err != nil {
		v.warn("the figures of disks cannot be kept: %s", installer.Tell(err))
	}
}

func (v *verdict) figures() (map[string]figure, error) {
	text, err := os.ReadFile(v.State.Path(figuresFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var out map[string]figure
	if err == nil {
		err = json.Unmarshal(text, &out)
	}
	return out, err
}

// disksOf are the file systems on which directories of the cluster lie.
func disksOf(a *answers) []Disk {
	p := a.places
	by := map[string]*Disk{}
	for _, d := range []struct {
		dir, what string
		masters   bool
	}{
		{p.Data, "data", false}, {p.Etcd, "etcd", true}, {p.Registry, "registry", true}, {p.CRI, "images", false}, {p.Kubelet, "pods", false}, {p.Log, "logs", false},
	} {
		m, ok := a.t.Facts.Disks[d.dir]
		if !ok || m.Total == 0 || d.masters && !a.t.Master {
			continue
		}
		if by[m.Path] == nil {
			by[m.Path] = &Disk{Path: m.Path, Total: m.Total, Free: m.Free}
		}
		by[m.Path].Holds = append(by[m.Path].Holds, d.what)
	}
	var out []Disk
	for _, at := range slices.Sorted(maps.Keys(by)) {
		out = append(out, *by[at])
	}
	return out
}

// fullAt is when nothing will be left, by two figures; zero if it does not fill, or that is not known.
func fullAt(was, now figure) time.Time {
	apart := now.At.Sub(was.At)
	if was.At.IsZero() || apart < leastApart || now.Free >= was.Free {
		return time.Time{}
	}
	left := float64(now.Free) / (float64(was.Free-now.Free) / apart.Seconds())
	if left > (10 * 365 * 24 * time.Hour).Seconds() {
		return time.Time{}
	}
	return now.At.Add(time.Duration(left * float64(time.Second))).UTC().Truncate(time.Second)
}

// about is a time in the unit that fits.
func about(d time.Duration) string {
	switch {
	case d < 2*time.Hour:
		return count.Of(int(d.Minutes()), "minute")
	case d < 48*time.Hour:
		return count.Of(int(d.Hours()), "hour")
	case d < 3*365*24*time.Hour:
		return count.Of(int(d.Hours()/24), "day")
	}
	return count.Of(int(d.Hours()/24/365), "year")
}
