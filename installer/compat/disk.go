package compat

import (
	"context"
	"sync"

	"github.com/sealbuild/sealbuild/installer/fleet"
	"github.com/sealbuild/sealbuild/installer/payload"
	"github.com/sealbuild/sealbuild/installer/preflight"
)

// Room that an upgrade takes beside what the bundle brings, in bytes.
const (
	programRoom = 256 << 20 // a program is written beside the one that it replaces
	walRoom     = 384 << 20 // etcd's write-ahead log, which kubeadm copies with the database
)

// disks judges the room for what an upgrade puts beside what is there: the new rootfs, images, the blobs that a registry lacks, a
// snapshot of etcd, and the copy of etcd's data that kubeadm makes in /etc/kubernetes/tmp.
func (c Compat) disks(ctx context.Context, members []told) ([]preflight.Problem, error) {
	catalog, err := payload.Catalog(ctx, c.Payload.Bundle)
	if err != nil {
		return nil, err
	}
	settings, err := c.SettingsFor(c.Master0()) // kubelets of all hosts keep the same room free
	if err != nil {
		return nil, err
	}
	found := make([][]preflight.Problem, len(c.Targets))
	var mu sync.Mutex
	at := map[*fleet.Target]int{}
	for i, t := range c.Targets {
		at[t] = i
	}
	err = c.Each(ctx, fleet.Only(c.Targets, (*fleet.Target).InCluster), func(ctx context.Context, t *fleet.Target) error {
		lacks := int64(0)
		if t.Master {
			has, err := t.Agent.Blobs(ctx, c.Access().Data)
			if err != nil {
				return err
			}
			for _, b := range catalog.Blobs() {
				if _, there := has[b.Digest.Encoded()]; !there {
					lacks += b.Size
				}
			}
		}
		v := preflight.Host{
			IP: t.IP.String(), Master: t.Master, Begun: true, Facts: t.Facts, Settings: settings,
			Needs: c.needs(t, lacks, databaseOf(members, t)),
		}
		mu.Lock()
		defer mu.Unlock()
		found[at[t]] = preflight.DiskProblems(v)
		return nil
	})
	var out []preflight.Problem
	for _, of := range found {
		out = append(out, of...)
	}
	return out, err
}

// needs is the room that an upgrade takes on a host. lacks are the bytes that its registry has to get, database is the size of its
// etcd's.
func (c Compat) needs(t *fleet.Target, lacks, database int64) preflight.Needs {
	n := preflight.Needs{Places: c.PlacesOf(t), Least: map[string]int64{}, Most: map[string]int64{}}
	add := func(dir string, least, most int64) {
		n.Least[dir] += least
		n.Most[dir] += most
	}
	p, s := n.Places, c.Sizes
	images := s.System
	if t.Master {
		images += s.Control
	}
	add(p.Data, s.Stub+s.Rootfs, s.Stub+s.Rootfs)
	add(p.CRI, images, max(images, s.Images))
	add(p.Bin, programRoom, programRoom)
	if t.Master {
		add(p.Registry, lacks, lacks)
	}
	if database > 0 {
		add(p.Etc, database+walRoom, database+walRoom)
		add(p.Data, database, database)
	}
	return n
}
