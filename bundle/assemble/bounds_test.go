package assemble

import (
	"strings"
	"testing"

	"github.com/sealbuild/sealbuild/bundle/assemble/store/storetest"
	"github.com/sealbuild/sealbuild/test/upstreamtest"
)

// Nobody unpacks gibibytes of nothing out of a layer of some hundred bytes: neither the search nor the build.
func TestABaseThatUnpacksToMoreThanItMayIsRefused(t *testing.T) {
	u := upstreamtest.New(t)
	u.PushImage(t, "base/hole", "v1", here(), storetest.Sparse(t, "usr/share/hole", 3<<30))
	for name, kubefile := range map[string]string{
		"FROM":        "FROM " + u.Ref("base/hole:v1") + "\nLABEL a=b\n",
		"COPY --from": "FROM scratch\nCOPY --from=" + u.Ref("base/hole:v1") + " /usr/share/hole /hole\n",
	} {
		b, _ := connected(t, u)
		_, err := b.Build(t.Context(), BuildRequest{Name: "x:1", Context: storetest.Files(t, map[string][]byte{"Kubefile": []byte(kubefile)})})
		if err == nil || !strings.Contains(err.Error(), "usr/share/hole: it has 3.0 GiB") {
			t.Errorf("%s: error is %v", name, err)
		}
	}
}
