package pull

import (
	"container/heap"
	"context"
	"math"
	"sync"
)

// firstOfAll is the priority of resolving references: the sooner all sizes are
// known, the better the large blobs can be started first.
const firstOfAll = math.MaxInt64

// queue is the one scheduler of a gathering: tasks of every image and blob, the most important first, with a bounded number at a
// time. Tasks may add tasks. Large blobs go before small ones, so that no large one is left to run alone at the end.
type queue struct {
	mu      sync.Mutex
	changed *sync.Cond
	tasks   taskHeap
	running int
	added   int64
	workers int // workers that there are
	wanted  int // workers that there may be: more than n while tasks stand aside
	ctx     context.Context
	all     sync.WaitGroup
}

type task struct {
	priority int64
	order    int64 // first come, first served among equals
	run      func(context.Context)
}

func newQueue() *queue {
	q := &queue{}
	q.changed = sync.NewCond(&q.mu)
	return q
}

func (q *queue) add(priority int64, run func(context.Context)) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.added++
	heap.Push(&q.tasks, task{priority: priority, order: q.added, run: run})
	q.changed.Signal()
}

// run works with n workers until no task is left or ctx ends.
func (q *queue) run(ctx context.Context, n int) {
	stop := context.AfterFunc(ctx, func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		q.changed.Broadcast()
	})
	defer stop()
	q.mu.Lock()
	q.ctx = ctx
	for range max(n, 1) {
		q.hire()
	}
	q.mu.Unlock()
	q.all.Wait()
}

// hire adds a worker. q.mu is held.
func (q *queue) hire() {
	q.wanted++
	if q.workers < q.wanted {
		q.workers++
		q.all.Go(q.work)
	}
}

// aside runs wait for a task, and lets another worker take the task's turn meanwhile.
func (q *queue) aside(wait func()) {
	q.mu.Lock()
	q.hire()
	q.mu.Unlock()
	wait()
	q.mu.Lock()
	defer q.mu.Unlock()
	q.wanted--
	q.changed.Broadcast()
}

func (q *queue) work() {
	q.mu.Lock()
	defer q.mu.Unlock()
	for {
		for len(q.tasks) == 0 && q.running > 0 && q.ctx.Err() == nil && q.workers <= q.wanted {
			q.changed.Wait()
		}
		if len(q.tasks) == 0 || q.ctx.Err() != nil || q.workers > q.wanted {
			q.workers--
			q.changed.Broadcast()
			return
		}
		t := heap.Pop(&q.tasks).(task)
		q.running++
		q.mu.Unlock()
		t.run(q.ctx)
		q.mu.Lock()
		q.running--
		q.changed.Broadcast()
	}
}

type taskHeap []task

func (h taskHeap) Len() int { return len(h) }

func (h taskHeap) Less(i, j int) bool {
	if h[i].priority != h[j].priority {
		return h[i].priority > h[j].priority
	}
	return h[i].order < h[j].order
}

func (h taskHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }

func (h *taskHeap) Push(x any) { *h = append(*h, x.(task)) }

func (h *taskHeap) Pop() any {
	old := *h
	last := old[len(old)-1]
	*h = old[:len(old)-1]
	return last
}
