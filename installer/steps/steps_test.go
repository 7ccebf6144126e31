package steps

import (
	"os"
	"slices"
	"strings"
	"testing"
)

// To find a step of the installation, one opens the file with its name.
func TestEveryStepHasAFileOfItsName(t *testing.T) {
	for _, s := range slices.Concat(Install(), Reset()[1:2]) {
		name := strings.ReplaceAll(s.Name, "-", "")
		name = strings.TrimSuffix(name, "kubernetes") // reset-kubernetes begins reset.go
		text, err := os.ReadFile(name + ".go")
		if err != nil {
			t.Errorf("step %s: %v", s.Name, err)
			continue
		}
		if !strings.Contains(strings.ToLower(string(text)), "func (r *run) "+name) {
			t.Errorf("step %s does not stand in %s.go", s.Name, name)
		}
	}
}
