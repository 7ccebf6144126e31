package payload

import "testing"

func TestSizeOfAGzipIsCompletedOrGuessed(t *testing.T) {
	const gib = 1 << 30
	for _, c := range []struct {
		packed int64
		told   uint32
		want   int64
	}{
		{100, 1000, 1000},
		{1000, 990, 990},                 // stored, not compressed
		{100 << 20, 1024, 3 * 100 << 20}, // the last of several members
		{2 * gib, 1 * gib, 5 * gib},      // went round once
		{2 * gib, 3 * gib, 3 * gib},
		{5 * gib, 2 * gib, 6 * gib},
	} {
		if got := gzipSize(c.packed, c.told); got != c.want {
			t.Errorf("gzipSize(%d, %d) = %d, want %d", c.packed, c.told, got, c.want)
		}
	}
}
