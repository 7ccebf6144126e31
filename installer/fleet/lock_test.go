package fleet

import (
	"fmt"
	"os"
	"testing"
)

func TestOnlyAHolderOfThisMachineIsKnownToBeDead(t *testing.T) {
	for holder, want := range map[string]bool{
		"process 4194000 on here since 2026-11-21T13:00:00.000Z":        true,
		fmt.Sprintf("process %d on here since 2026-11-21", os.Getpid()): false,
		"process 4194000 on elsewhere since 2026-11-21T13:00:00.000Z":   false,
		"somebody": false, "": false, "process -1 on here since": false,
	} {
		if got := isDead(holder, "here"); got != want {
			t.Errorf("%q is dead: %t", holder, got)
		}
	}
}
