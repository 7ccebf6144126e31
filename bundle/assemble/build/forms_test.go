package build

import (
	"archive/tar"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sealbuild/sealbuild/kubefile"
)

// form is one way in which Kubefiles are written, and what its image says.
type form struct {
	kubefile        string
	context         map[string]string // further files of the context
	args            map[string]string // --build-arg
	labels, env     map[string]string
	cmd, entrypoint []string
	files           []string         // every file of the image, Kubefile left out
	modes           map[string]int64 // the same, with their modes
	config          func(t *testing.T, c v1.Image)
}

func forms() map[string]form {
	return map[string]form{
		"ENV with a blank": {
			kubefile: "FROM scratch\nENV NAME  several words \"and quotes\"\nENV URL http://a=b\n",
			env:      map[string]string{"NAME": "several words and quotes", "URL": "http://a=b"},
		},
		"ENV with a default of several words": {
			kubefile: "FROM scratch\nENV NS=${NS:-default}\nENV HELM_OPTS=${HELM_OPTS:-\"--set a.b=1 \\\n  --set c=2\"}\n",
			env:      map[string]string{"NS": "default", "HELM_OPTS": "--set a.b=1   --set c=2"},
		},
		"comments, blanks and empty lines inside a continuation": {
			kubefile: "FROM scratch\nENV A=1 \\   \n  # about B\n\n    B=2 \\\t\n#C=3 \\\n  D=\"x y\"\nLABEL \\\n a=b \\\n # c\n  d=e\n",
			env:      map[string]string{"A": "1", "B": "2", "D": "x y"},
			labels:   map[string]string{"a": "b", "d": "e"},
		},
		"no newline at the end": {
			kubefile: "FROM scratch\nCMD [\"bash entrypoint.sh\"]",
			cmd:      []string{"bash entrypoint.sh"},
		},
		"lines that end as on Windows": {
			kubefile: "# build\r\nFROM scratch\r\nENV A=1 \\\r\n    B=two\r\nLABEL x=\"y z\"\r\nCOPY a.txt .\r\nCMD [\"a\", \"b\"]\r\n",
			context:  map[string]string{"a.txt": "a"},
			env:      map[string]string{"A": "1", "B": "two"}, labels: map[string]string{"x": "y z"},
			cmd: []string{"a", "b"}, files: []string{"a.txt"},
		},
		"CMD of several commands": {
			kubefile: `FROM scratch
CMD ["cp -f opt/helm /usr/bin/", "helm upgrade -i $(NAME) charts/x -n ${NS} --create-namespace $HELM_OPTS", "echo $$"]
`,
			cmd: []string{"cp -f opt/helm /usr/bin/", "helm upgrade -i $(NAME) charts/x -n ${NS} --create-namespace $HELM_OPTS", "echo $$"},
		},
		"CMD in shell form over lines": {
			kubefile: "FROM scratch\nCMD kubectl apply -f manifests/crd.yaml && \\\n    # then the rest\n    kubectl apply -f $(DIR)/app.yaml\n",
			cmd:      []string{"kubectl apply -f manifests/crd.yaml &&     kubectl apply -f $(DIR)/app.yaml"},
		},
		"ENTRYPOINT and CMD": {
			kubefile:   "FROM scratch\nCMD [\"first\"]\nENTRYPOINT [\"bash check.sh\"]\nCMD [\"bash a.sh\"]\n",
			entrypoint: []string{"bash check.sh"}, cmd: []string{"bash a.sh"},
		},
		"LABEL that is a script": {
			kubefile: `FROM scratch
ENV registryData=/other
LABEL sealos.io.type="rootfs" init="init-cri.sh \$registryDomain \$registryPort && bash init.sh" \
      clean='clean.sh && bash clean-cri.sh $criData' check="check.sh $registryData" vip=\$defaultVIP
`,
			env: map[string]string{"registryData": "/other"},
			labels: map[string]string{
				"sealos.io.type": "rootfs", "init": "init-cri.sh $registryDomain $registryPort && bash init.sh",
				"clean": "clean.sh && bash clean-cri.sh $criData", "check": "check.sh /other", "vip": "$defaultVIP",
			},
		},
		"MAINTAINER": {
			kubefile: "FROM scratch\nMAINTAINER somebody <a@example.com>\nCMD [\"x\"]\n", cmd: []string{"x"},
			config: func(t *testing.T, c v1.Image) {
				if c.Author != "somebody <a@example.com>" {
					t.Errorf("author is %q", c.Author)
				}
			},
		},
		"blanks in paths": {
			kubefile: "FROM scratch\nCOPY [\"a b.txt\", \"my dir/c d\", \"/x y/\"]\n",
			context:  map[string]string{"a b.txt": "a", "my dir/c d": "c"},
			files:    []string{"x y", "x y/a b.txt", "x y/c d"},
		},
		"stages": {
			kubefile: "FROM scratch AS tools\nARG V=1\nENV V=$V A=a\nLABEL from=tools\nCMD [\"old\"]\nCOPY bin bin\n" +
				"FROM scratch\nCOPY a.txt /1/\nFROM tools\nENTRYPOINT [\"e\"]\nCOPY --from=1 /1/a.txt /\nCOPY --from=tools /bin /copy\n",
			context: map[string]string{"bin/x": "x", "a.txt": "a"},
			env:     map[string]string{"V": "1", "A": "a"}, labels: map[string]string{"from": "tools"},
			entrypoint: []string{"e"},
			files:      []string{"a.txt", "bin", "bin/x", "copy", "copy/x"},
		},
		"ARG before FROM": {
			kubefile: "ARG BASE=scratch\nARG VERSION=v1.2\nARG UNUSED=x\nFROM ${BASE}\nARG VERSION\nARG OTHER=o\nARG GIVEN=default\n" +
				"ENV V=$VERSION S=${VERSION#v} O=$OTHER G=$GIVEN U=$UNUSED E=${NOTHING:-else} P=${VERSION:+plus}\n",
			args: map[string]string{"GIVEN": "given"},
			env:  map[string]string{"V": "v1.2", "S": "1.2", "O": "o", "G": "given", "U": "", "E": "else", "P": "plus"},
		},
		"a stage sees the ARGs of the stage it is built on": {
			kubefile: "FROM scratch AS one\nARG V=1\nFROM one\nENV W=$V\n",
			env:      map[string]string{"W": "1"},
		},
		"the platform's ARGs": {
			kubefile: "ARG TARGETARCH\nFROM --platform=$TARGETPLATFORM scratch\nARG TARGETARCH\nARG TARGETOS TARGETPLATFORM\nENV A=$TARGETARCH P=$TARGETPLATFORM\nCOPY ${TARGETOS} /\n",
			context:  map[string]string{"linux/f": "f"}, files: []string{"f"},
			env: map[string]string{"A": "@ARCH@", "P": "linux/@ARCH@"},
		},
		"octal modes": {
			kubefile: "FROM scratch\nCOPY --chmod=750 d /c/\n", context: map[string]string{"d/x": ""},
			modes: map[string]int64{"c": 0o755, "c/x": 0o750},
		},
		"heredocs": {
			kubefile: "FROM scratch\nENV A=1\nCOPY <<one <<\"two\" /d/\n$A\none\n$A\ntwo\nCOPY <<-EOF /single\n\ttab\nEOF\n",
			env:      map[string]string{"A": "1"},
			files:    []string{"d", "d/one", "d/two", "single"},
		},
		"RUN": {
			kubefile: "FROM scratch\nCOPY tool /bin/sh\nENV B=b\nRUN /a $B\nRUN [\"/bin/sh\", \"-c\", \"/c\"]\nRUN <<end\n/e\nend\n",
			context:  map[string]string{"tool": ""}, env: map[string]string{"B": "b"},
			files: []string{"a", "bin", "bin/sh", "c", "dev", "e", "proc", "sys"},
		},
		"symbolic modes": {
			kubefile: "FROM scratch\nCOPY --chmod=u=rwX,go=rX d f* /c/\nADD --chmod=a=r,u+w f /added\nCOPY --chmod=u+x <<end /h\nx\nend\n",
			context:  map[string]string{"d/s/x": "", "d/x": "", "d/left": "", "f": "", "f2": "", ".dockerignore": "d/left\n"},
			modes: map[string]int64{
				"added": 0o644, "c": 0o755, "c/f": 0o644, "c/f2": 0o644, "c/s": 0o755, "c/s/x": 0o644, "c/x": 0o644, "h": 0o744,
			},
		},
		".dockerignore": {
			kubefile: "FROM scratch\nCOPY . .\n",
			context: map[string]string{
				".dockerignore": "# comment\n*.log\nsecret/\n!keep.log\nKubefile\n**/tmp\n", "a.log": "", "keep.log": "", "secret/x": "", "d/tmp/x": "", "d/y": "",
			},
			files: []string{".dockerignore", "d", "d/y", "keep.log"},
		},
		"sources by pattern": {
			kubefile: "FROM scratch\nWORKDIR /w\nCOPY *.y*ml dir[12] ./\nADD more /more/\n",
			context:  map[string]string{"a.yaml": "", "b.yml": "", "c.txt": "", "dir1/x": "", "dir2/y": "", "dir3/z": "", "more/m": ""},
			files:    []string{"more", "more/m", "w", "w/a.yaml", "w/b.yml", "w/x", "w/y"},
		},
		"lower case and indented": {
			kubefile: "from scratch\n  env a=1\n\tlabel b=c\n cmd [\"x\"]\n",
			env:      map[string]string{"a": "1"}, labels: map[string]string{"b": "c"}, cmd: []string{"x"},
		},
		"another escape": {
			kubefile: "# escape=`\nFROM scratch\nENV A=1 `\n  B=2\n", env: map[string]string{"A": "1", "B": "2"},
		},
	}
}

// TestFormsOfKubefiles builds every form and asks the parser, which plan uses,
// the same: both must say what is expected.
func TestFormsOfKubefiles(t *testing.T) {
	needRoot(t)
	var tool []byte
	for name, f := range forms() {
		t.Run(name, func(t *testing.T) {
			if _, ok := f.context["tool"]; ok {
				if tool == nil {
					tool = buildTool(t)
				}
				f.context["tool"] = string(tool)
			}
			files := map[string]string{"Kubefile": f.kubefile}
			for n, text := range f.context {
				files[n] = text
			}
			r := request(t, contextDir(t, files))
			r.Args = f.args
			if _, ok := f.context["tool"]; ok {
				if err := os.Chmod(filepath.Join(r.Context, "tool"), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			checkForm(t, f, r)
		})
	}
}

func checkForm(t *testing.T, f form, r Request) {
	t.Helper()
	for k, v := range f.env {
		f.env[k] = strings.ReplaceAll(v, "@ARCH@", r.Platform.Architecture)
	}
	parsed, err := kubefile.Parse(strings.NewReader(f.kubefile), "Kubefile", kubefile.WithBuildArgs(f.args),
		kubefile.WithPlatform(r.Platform.OS, r.Platform.Architecture, r.Platform.Variant))
	if err != nil {
		t.Fatal(err)
	}
	r.File = parsed
	for n, text := range parsed.Rewritten() {
		r.Edits = append(r.Edits, Edit{First: n, Last: n, Text: text})
	}
	res := mustBuild(t, r)
	config, names := layerFiles(t, res, r.Epoch)
	if f.modes != nil {
		if diff := cmp.Diff(f.modes, modesOf(t, res)); diff != "" {
			t.Errorf("modes (-want +got):\n%s", diff)
		}
	}
	built := kubefile.Config{Labels: config.Config.Labels, Env: environment(config), Cmd: lines(config.Config.Cmd), Entrypoint: lines(config.Config.Entrypoint)}
	planned := kubefile.Config{Labels: parsed.Labels(), Env: parsed.Env(), Cmd: parsed.Cmd(), Entrypoint: parsed.Entrypoint()}
	want := kubefile.Config{Labels: f.labels, Env: f.env, Cmd: f.cmd, Entrypoint: f.entrypoint}
	if diff := cmp.Diff(want, built, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("built image (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(want, planned, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("plan (-want +got):\n%s", diff)
	}
	if f.files != nil {
		var kept []string
		for _, n := range names {
			if n != "Kubefile" {
				kept = append(kept, n)
			}
		}
		if diff := cmp.Diff(f.files, kept); diff != "" {
			t.Errorf("files (-want +got):\n%s", diff)
		}
	}
	if f.config != nil {
		f.config(t, config)
	}
}

// modesOf lists what the layers hold with its modes.
func modesOf(t *testing.T, r Result) map[string]int64 {
	t.Helper()
	var m v1.Manifest
	readBlob(t, r.Layout, r.Descriptor.Digest, &m)
	all := map[string]int64{}
	for _, l := range m.Layers {
		f, err := os.Open(filepath.Join(r.Layout, "blobs", "sha256", l.Digest.Encoded()))
		must(t, err)
		defer f.Close()
		for entries := tar.NewReader(f); ; {
			h, err := entries.Next()
			if err != nil {
				break
			}
			all[strings.TrimSuffix(h.Name, "/")] = h.Mode
		}
	}
	return all
}

// environment of an image, without the PATH that every builder adds.
func environment(c v1.Image) map[string]string {
	env := map[string]string{}
	for _, kv := range c.Config.Env {
		if k, v, _ := strings.Cut(kv, "="); k != "PATH" {
			env[k] = v
		}
	}
	return env
}

// lines are the shell lines of a command: a builder puts the shell form behind
// a shell, which an installer does not.
func lines(command []string) []string {
	if len(command) == 3 && command[0] == "/bin/sh" && command[1] == "-c" {
		return command[2:]
	}
	return command
}

// buildTool compiles a program that writes a file of every absolute path among
// the words of its arguments. It is static, since the images have no loader;
// the test program itself is not when it is built with -race.
func buildTool(t *testing.T) []byte {
	t.Helper()
	file := filepath.Join(t.TempDir(), "tool")
	build := exec.Command("go", "build", "-o", file, "testdata/tool/main.go")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the tool: %v\n%s", err, out)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// TestPlanKnowsWhatABaseHandsOn: FROM an image that is no stage.
func TestPlanKnowsWhatABaseHandsOn(t *testing.T) {
	base := kubefile.Config{Labels: map[string]string{"a": "1"}, Env: map[string]string{"E": "e"}, Cmd: []string{"c"}}
	f, err := kubefile.Parse(strings.NewReader("FROM base:v1\nLABEL b=$E\n"), "Kubefile",
		kubefile.WithBase(func(name string) (kubefile.Config, bool) { return base, name == "base:v1" }))
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(f.Labels(), f.Env(), f.Cmd()); got != "map[a:1 b:e] map[E:e] [c]" {
		t.Error(got)
	}
}
