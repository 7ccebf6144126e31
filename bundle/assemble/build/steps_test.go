package build

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sealbuild/sealbuild/kubefile"
)

// parsed puts the parsed Kubefile into a request, as a caller does.
func parsed(t *testing.T, r *Request) {
	t.Helper()
	text, err := os.ReadFile(r.Kubefile)
	must(t, err)
	r.File, err = kubefile.Parse(strings.NewReader(string(text)), "Kubefile", kubefile.WithBuildArgs(r.Args),
		kubefile.WithPlatform(r.Platform.OS, r.Platform.Architecture, r.Platform.Variant))
	must(t, err)
}

func TestAFailingInstructionIsNamedWithItsLine(t *testing.T) {
	needRoot(t)
	tool := string(buildTool(t))
	for name, tc := range map[string]struct{ kubefile, want string }{
		"RUN": {
			"FROM scratch\nCOPY sh /bin/sh\n\n# now\nRUN /a \\\n  fail\nCOPY f /\n", "Kubefile:5:1: RUN failed: exit status 3\n    RUN /a \\\n    ^",
		},
		"RUN in one of several stages": {
			"ARG A=1\nFROM scratch AS unused\nRUN fail\nFROM scratch AS one\nCOPY sh /bin/sh\nRUN fail\nFROM scratch\nCOPY --from=one bin bin\nRUN fail\n",
			"Kubefile:6:1: RUN failed: exit status 3",
		},
		"the last instruction":        {"FROM scratch\nCOPY sh /bin/sh\nRUN [\"/bin/sh\", \"fail\"]\n", "Kubefile:3:1: RUN failed: exit status 3"},
		"a program that is not there": {"FROM scratch\nRUN x\n", "Kubefile:2:1: RUN failed: "},
		"a file of a stage":           {"FROM scratch AS one\nCOPY f /\nFROM scratch\nLABEL a=b\nCOPY --from=one none /\n", "Kubefile:5:1: COPY failed: "},
		"an owner":                    {"FROM scratch\nCOPY --chown=nobody f /\n", "Kubefile:2:1: COPY failed: "},
	} {
		t.Run(name, func(t *testing.T) {
			r := request(t, contextDir(t, map[string]string{"Kubefile": tc.kubefile, "sh": tool, "f": ""}))
			must(t, os.Chmod(filepath.Join(r.Context, "sh"), 0o755))
			r.Labels, r.Env = []string{"l=1"}, []string{"E=2"}
			parsed(t, &r)
			_, err := Build(t.Context(), r)
			if located := new(kubefile.Error); !errors.As(err, &located) || !strings.HasPrefix(err.Error(), tc.want) {
				t.Errorf("error is %v\nwant %s", err, tc.want)
			}
		})
	}
}
