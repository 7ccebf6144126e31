package leaving

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/dustin/go-humanize"

	"github.com/sealbuild/sealbuild/ground/count"
	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/fleet"
	"github.com/sealbuild/sealbuild/installer/kube"
	"github.com/sealbuild/sealbuild/installer/preflight"
)

// Loss is what is lost when a host leaves the cluster, for an operator to decide on.
type Loss struct {
	Host, Role, Node string
	Dead             bool     // it does not answer; the operator says that it never will
	Moves            int      // pods that are made anew elsewhere
	Lost             []string // in words: volumes and images that lie there only, pods that nothing makes anew, the last pod of an application
}

// Losses finds what is lost with each host, and whether the others have room for its pods.
func (l *Leaving) Losses(ctx context.Context) (out []Loss, room []preflight.Problem, err error) {
	var nodes []string
	for _, t := range l.Site.Leaving {
		node, _ := l.NodeOf(t)
		out = append(out, Loss{Host: t.IP.String(), Role: t.Role(), Node: node.Name, Dead: t.Dead})
		if node.Name != "" {
			nodes = append(nodes, node.Name)
		}
	}
	pods, err := l.Kube.Residents(ctx, nodes)
	if err != nil {
		return nil, nil, err
	}
	used := map[string]map[string]map[string]int64{}
	for _, node := range nodes {
		// A dead host cannot tell, and for the question alone a live one is not kept.
		used[node], _ = l.Kube.VolumeUse(ctx, node)
	}
	for _, p := range pods {
		of := &out[slices.IndexFunc(out, func(l Loss) bool { return l.Node == p.Node })]
		switch {
		case p.Owner == "":
			of.Lost = append(of.Lost, fmt.Sprintf("pod %s: nothing makes it anew elsewhere", p.Title()))
		case p.Last:
			of.Lost = append(of.Lost, fmt.Sprintf("pod %s is the last one of %s that is ready: until it runs elsewhere, nobody serves", p.Title(), p.Owner))
			of.Moves++
		default:
			of.Moves++
		}
		of.Lost = append(of.Lost, dataOf(p, used[p.Node])...)
	}
	if err := l.lonelyBlobs(ctx, out); err != nil {
		return nil, nil, err
	}
	rooms, err := l.Kube.Rooms(ctx)
	return out, roomProblems(pods, rooms, nodes), err
}

// dataOf says which data of a pod lie on its node alone. used are the sizes that the node has told.
func dataOf(p kube.Resident, used map[string]map[string]int64) (out []string) {
	for _, data := range p.Local {
		size := "size not known"
		if n, told := used[p.Title()][kube.VolumeName(data)]; told {
			size = humanize.IBytes(uint64(n))
		}
		out = append(out, fmt.Sprintf("data of pod %s: %s, %s", p.Title(), data, size))
	}
	return out
}

// lonelyBlobs finds what lies in the registries of masters that leave, and in none of those that stay: what somebody has pushed
// lies on one master alone.
func (l *Leaving) lonelyBlobs(ctx context.Context, out []Loss) error {
	going := fleet.Only(l.Live(), func(t *fleet.Target) bool { return t.Master })
	if len(going) == 0 {
		return nil
	}
	var mu sync.Mutex
	stay, goes, unknown := map[string]bool{}, map[*fleet.Target]map[string]int64{}, map[*fleet.Target]error{}
	err := l.Each(ctx, append(l.ControlPlanes(), going...), func(ctx context.Context, t *fleet.Target) error {
		blobs, err := t.Agent.Blobs(ctx, l.Access().Data)
		mu.Lock()
		defer mu.Unlock()
		switch {
		case ctx.Err() != nil:
			return err
		case slices.Contains(going, t):
			goes[t], unknown[t] = blobs, err
		default: // of one that cannot be asked nothing is known to be there
			for digest := range blobs {
				stay[digest] = true
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, t := range going {
		var size int64
		n := 0
		for digest, bytes := range goes[t] {
			if !stay[digest] {
				size += bytes
				n++
			}
		}
		text := ""
		switch {
		case unknown[t] != nil:
			text = "what its registry alone holds, which is not known: " + installer.TellAt(unknown[t], t.IP.String())
		case n > 0:
			text = fmt.Sprintf("images of which only its registry holds parts (%s, %s): push them to a master that stays", count.Of(n, "blob"), humanize.IBytes(uint64(size)))
		}
		if text != "" {
			of := &out[slices.IndexFunc(out, func(l Loss) bool { return l.Host == t.IP.String() })]
			of.Lost = append(of.Lost, text)
		}
	}
	return nil
}

// roomProblems tells that the hosts that stay cannot take the pods.
func roomProblems(pods []kube.Resident, rooms []kube.Room, leaving []string) []preflight.Problem {
	var cpu, memory, freeCPU, freeMemory int64
	moving := 0
	for _, p := range pods {
		if p.Owner != "" {
			moving++
			cpu, memory = cpu+p.CPU, memory+p.Memory
		}
	}
	open := slices.DeleteFunc(slices.Clone(rooms), func(n kube.Room) bool { return !n.Open || slices.Contains(leaving, n.Node) })
	for _, n := range open {
		freeCPU, freeMemory = freeCPU+n.CPU, freeMemory+n.Memory
	}
	p := preflight.Problem{Check: "capacity", Remedy: "add a host first, or scale applications down; --ignore-check capacity takes the hosts out all the same, and pods wait until there is room"}
	switch {
	case moving == 0:
		return nil
	case len(open) == 0:
		p.Message = fmt.Sprintf("%s would have nowhere to go: no node that stays takes ordinary pods", count.Of(moving, "pod"))
	case cpu > freeCPU || memory > freeMemory:
		p.Message = fmt.Sprintf("%s %s for %s, and the nodes that stay have %s left", count.Of(moving, "pod"), count.Word(moving, "asks", "ask"), amounts(cpu, memory), amounts(freeCPU, freeMemory))
	default:
		return nil
	}
	return []preflight.Problem{p}
}

func amounts(cpu, memory int64) string {
	return fmt.Sprintf("%.1f cores and %s", float64(max(0, cpu))/1000, humanize.IBytes(uint64(max(0, memory))))
}
