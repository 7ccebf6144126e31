package kubefile

import (
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func parse(t *testing.T, text string, opts ...Option) *File {
	t.Helper()
	f, err := Parse(strings.NewReader(text), "Kubefile", opts...)
	if err != nil {
		t.Fatalf("Parse: %v", err)
	}
	return f
}

// bareInstructions are instructions without where they stand.
func bareInstructions(f *File) []Instruction {
	out := make([]Instruction, len(f.Instructions))
	for i, in := range f.Instructions {
		out[i] = Instruction{Name: in.Name, Args: in.Args, Flags: in.Flags, JSON: in.JSON, Heredocs: in.Heredocs}
	}
	return out
}

func TestFormsOfRealKubefilesAreRead(t *testing.T) {
	for name, tc := range map[string]struct {
		text string
		want []Instruction
	}{
		"application with a list of commands": {
			"FROM scratch\nENV NAME=x\nCOPY . .\nCMD [\"cp opt/helm /usr/bin/\", \"helm upgrade -i $(NAME) $(CHARTS) -n $(NAMESPACE)\"]\n",
			[]Instruction{
				{Name: "FROM", Args: []string{"scratch"}},
				{Name: "ENV", Args: []string{"NAME=x"}},
				{Name: "COPY", Args: []string{".", "."}},
				{Name: "CMD", JSON: true, Args: []string{"cp opt/helm /usr/bin/", "helm upgrade -i $(NAME) $(CHARTS) -n $(NAMESPACE)"}},
			},
		},
		"no final newline, CRLF, lower case, maintainer": {
			"from scratch\r\nmaintainer somebody <a@b.c>\r\ncopy registry registry",
			[]Instruction{
				{Name: "FROM", Args: []string{"scratch"}},
				{Name: "MAINTAINER", Args: []string{"somebody <a@b.c>"}},
				{Name: "COPY", Args: []string{"registry", "registry"}},
			},
		},
		"space form of ENV and LABEL": {
			"FROM scratch\nENV criData /var/lib/containerd\nLABEL init init.sh  a\n",
			[]Instruction{
				{Name: "FROM", Args: []string{"scratch"}},
				{Name: "ENV", Args: []string{"criData=/var/lib/containerd"}},
				{Name: "LABEL", Args: []string{"init=init.sh  a"}},
			},
		},
		"comments and blank lines inside a continuation": {
			"FROM scratch\nENV A=1 \\\n# why B\n\n   B=2 \\\n    # and C\n    C=3\nCMD echo a && \\\n  echo b\n",
			[]Instruction{
				{Name: "FROM", Args: []string{"scratch"}},
				{Name: "ENV", Args: []string{"A=1", "B=2", "C=3"}},
				{Name: "CMD", Args: []string{"echo a &&   echo b"}},
			},
		},
		"stages and heredocs": {
			"FROM alpine AS Build\nRUN <<EOF\ntouch /a\nEOF\nFROM scratch\nCOPY --from=Build --chmod=755 /a /b\nCOPY <<-\"X\" /c\n\thello\n\tX\n",
			[]Instruction{
				{Name: "FROM", Args: []string{"alpine", "AS", "Build"}},
				{Name: "RUN", Args: []string{"<<EOF"}, Heredocs: []Heredoc{{Name: "EOF", Content: "touch /a\n", Expand: true}}},
				{Name: "FROM", Args: []string{"scratch"}},
				{Name: "COPY", Args: []string{"/a", "/b"}, Flags: []string{"--from=Build", "--chmod=755"}},
				{Name: "COPY", Args: []string{"<<-\"X\"", "/c"}, Heredocs: []Heredoc{{Name: "X", Content: "hello\n"}}},
			},
		},
		"shell tests are no arrays": {
			"FROM scratch\nRUN [ -f x ] && touch y\nRUN [[ -f x ]]\nRUN [ \"$a\" = b ]\nCOPY [a-c]* /d/\nRUN --mount=type=bind,source=a,z ls\n",
			[]Instruction{
				{Name: "FROM", Args: []string{"scratch"}},
				{Name: "RUN", Args: []string{"[ -f x ] && touch y"}},
				{Name: "RUN", Args: []string{"[[ -f x ]]"}},
				{Name: "RUN", Args: []string{`[ "$a" = b ]`}},
				{Name: "COPY", Args: []string{"[a-c]*", "/d/"}},
				{Name: "RUN", Args: []string{"ls"}, Flags: []string{"--mount=type=bind,source=a,z"}},
			},
		},
		"onbuild": {
			"FROM scratch\nONBUILD copy . .\n",
			[]Instruction{
				{Name: "FROM", Args: []string{"scratch"}},
				{Name: "ONBUILD", Args: []string{"COPY", ".", "."}},
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := bareInstructions(parse(t, tc.text))
			if diff := cmp.Diff(tc.want, got, cmpopts.EquateEmpty(), cmpopts.IgnoreUnexported(Instruction{})); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestLinesAreThoseOfTheFile(t *testing.T) {
	f := parse(t, "# a\n\nFROM scratch\nENV A=1 \\\n\n  B=2\nCOPY <<E /x\none\nE\nCMD a")
	var got [][2]int
	for _, in := range f.Instructions {
		got = append(got, [2]int{in.Line, in.EndLine})
	}
	if diff := cmp.Diff([][2]int{{3, 3}, {4, 6}, {7, 9}, {10, 10}}, got); diff != "" {
		t.Error(diff)
	}
}

func TestFindTakesTheFirstDefaultName(t *testing.T) {
	name, err := Find(fstest.MapFS{"Dockerfile": {}, "Sealfile": {}})
	if err != nil || name != "Sealfile" {
		t.Errorf("Find = %q, %v", name, err)
	}
	_, err = Find(fstest.MapFS{"Kubefile/x": {}})
	if err == nil || !strings.Contains(err.Error(), "Kubefile, Sealfile, Dockerfile") {
		t.Errorf("err = %v", err)
	}
}
