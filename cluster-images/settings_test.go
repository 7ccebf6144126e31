package clusterimages_test

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// A setting that no page names is one that nobody finds.
func TestEverySettingIsListed(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile("kubernetes/README.md")
	if err != nil {
		t.Fatal(err)
	}
	listed := map[string]bool{}
	for row := range strings.Lines(string(readme)) {
		if key, _, ok := strings.Cut(strings.TrimPrefix(row, "|"), "|"); ok {
			for _, m := range regexp.MustCompile("`([A-Za-z_]+)`").FindAllStringSubmatch(key, -1) {
				listed[m[1]] = true
			}
		}
	}
	seen := 0
	for key := range environment(t, "kubernetes", nil) {
		if strings.HasPrefix(key, "SEALOS_SYS_") { // the installer's own
			continue
		}
		seen++
		if !listed[key] {
			t.Errorf("%s is in no row of kubernetes/README.md", key)
		}
	}
	if seen < 10 {
		t.Errorf("%d settings found: this test sees nothing", seen)
	}
}
