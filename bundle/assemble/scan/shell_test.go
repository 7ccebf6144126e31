package scan

import (
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

// runLine reads a text as a command of an image with nothing in it, and as a script of another language.
func runLine(line string, env map[string]string) *scanner {
	s := &scanner{collector: newCollector(&ignoreList{}), fsys: fstest.MapFS{}, env: env, scripts: map[string]bool{}, made: map[string]string{}}
	c := substituted(line, env)
	sh := &shell{scanner: s, at: Place{File: "x", Line: 1}, vars: ofImage(env), line: &c}
	_ = sh.interpret(c.words[0], true)
	s.foreign("y", line)
	return s
}

func TestAScriptIsReadAsAShellRunsIt(t *testing.T) {
	for script, want := range map[string][]string{
		"x 'a b' \"c $V\" d\\ e f'g'\"h\"":                        {"x|a b|c v|d e|fgh"},
		"x \\\n  a \\\n  b # c\n# x d":                            {"x|a|b"},
		"x a && y b || z c; w d | v e & u f":                      {"x|a", "y|b", "z|c", "w|d", "v|e", "u|f"},
		"A=1\nB=$A-2 C='$A'\nx $B $C ${D:-3} ${V:+4} ${E-$A}":     {"x|1-2|$A|3|4|1"},
		"A='1 2'; x $A \"$A\"; A=5 y; x $A":                       {"x|1|2|1 2", "y", "x|1|2"},
		": ${T:=v1}; x ${T#v} ${T/v/w}":                           {":|v1", "x|1|w1"},
		"x $(y a `z b`) $((1+1)) $1 <(w c)":                       {"z|b", "y|a|…", "w|c", "x|…|…|…|-"},
		"o=(--set a=b); o+=(-n 'c d'); x \"${o[@]}\" ${#o[@]}":    {"x|--set|a=b|-n|c d|4"},
		"f() { local n=$1; shift; x $n \"$@\"; }; f 1 2 '3 4'; x": {"x|1|2|3 4", "f|1|2|3 4", "x"},
		"f() { x a; }": nil,
		"for i in a 'b c' d-{1,2}; do x $i; done":                                        {"x|a", "x|b|c", "x|d-1", "x|d-2"},
		"set -- a b; for i; do x $i; done; while read l; do y $l; done":                  {"x|a", "x|b", "y|…"},
		"if y; then A=1; elif z; then A=2; else A=3; fi; x $A":                           {"y", "z", "x|1", "x|2", "x|3"},
		"case $V in a) A=1 ;; *) A=2 ;; esac; x $A":                                      {"x|1", "x|2"},
		"[ -n \"$V\" ] || V=1; [[ -z $N ]] && N=2; x $V $N":                              {"[|-n|v|]", "x|v|2"},
		"if [ -z \"$V\" ]; then A=1; else A=2; fi; x $A":                                 {"[|-z|v|]", "x|2"},
		"(A=1; x $A); { A=2; }; x $A":                                                    {"x|1", "x|2"},
		"sh -c 'x a; y b'; bash -ec \"x $V\"; eval x $V '$V'":                            {"x|a", "y|b", "x|v", "x|v|v"},
		"export A=1; B=2; sh -c 'x $A $B $1' n c":                                        {"x|1|…|c"},
		"bash -s <<E\nx $V\nE\nsh <<'E'\ny $V\nE":                                        {"x|v", "y|v"},
		"A=1; sh <<E\nx $A\nE\nsh <<\\E\ny $A\nE":                                        {"x|1", "y|…"},
		"cat <<E\nx a\nE\nx b":                                                           {"cat", "x|b"},
		"sudo -u root -E A=1 x a; timeout -k 5 60 x b; exec env -i A=2 x c; nohup x d &": {"x|a", "x|b", "x|c", "x|d"},
		"retry() { \"$@\"; }; retry x a":                                                 {"x|a", "retry|x|a"},
		"command -v x >/dev/null 2>&1 || y; unset V; x ${V-none}":                        {"/dev/null", "x", "y", "x|none"},
		"x ~/a ~nobody/b":     {"x|…/a|…/b"},
		"f() { f; f; }; f; x": {"x"},
	} {
		s := &scanner{collector: newCollector(&ignoreList{}), fsys: fstest.MapFS{}, scripts: map[string]bool{}, made: map[string]string{}}
		sh := &shell{scanner: s, at: Place{File: "x"}, runs: true, vars: ofImage(map[string]string{"V": "v"})}
		if err := sh.interpret(script, true); err != nil {
			t.Errorf("%s: %v", script, err)
		}
		var got []string
		for _, words := range s.others {
			if line := strings.ReplaceAll(strings.Join(words, "|"), unresolved, "…"); line != "f" && !slices.Contains(got, line) {
				got = append(got, line)
			}
		}
		for i, line := range want { // x twice in a script is one
			if slices.Contains(want[:i], line) {
				t.Fatalf("%s wants %s twice", script, line)
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", script, diff)
		}
	}
}

func TestACalledScriptIsFollowedWhateverItIsCalled(t *testing.T) {
	const (
		script = "helm upgrade -i app charts/app --set image.tag=followed\nkubectl apply -f https://e.example/x.yaml\n"
		bash   = "#!/usr/bin/env bash\n" + script
	)
	for command, files := range map[string]string{
		"/opt/install":                    "-- opt/install --\n" + bash,
		"bash scripts/install":            "-- scripts/install --\n" + script,
		"./run":                           "-- run --\n" + script,
		"sh -x run":                       "-- run --\n" + script,
		"bash -euo pipefail run.bash now": "-- run.bash --\n" + script,
		"cd deploy && ./run":              "-- deploy/run --\n" + bash,
		"cd deploy; cd more && bash run":  "-- deploy/more/run --\n" + bash,
		"exec ./run":                      "-- run --\n" + script,
		"env X=y sudo -E ./run":           "-- run --\n" + script,
		"timeout 60 nohup bash run":       "-- run --\n" + script,
		"source ./run":                    "-- run --\n" + script,
		". lib/run && up":                 "-- lib/run --\nup() {\n" + script + "}\n",
		"bash one.sh":                     "-- one.sh --\ncd $(dirname $0)\n./lib/two\n-- lib/two --\n. ./three.inc\n-- lib/three.inc --\n" + script,
		"bash main":                       "-- main --\nhere=$(cd $(dirname $0) && pwd)\nsource \"$here/lib/run\"\n-- lib/run --\n" + script,
		"bash dispatch up":                "-- dispatch --\nup() { ./run; }\n\"$1\"\n-- run --\n" + script,
		"bash scripts/up.sh":              "-- scripts/up.sh.tmpl --\n{{ if .X }}true{{ end }}\n" + script,
		"[ -f run ] && sh -c 'bash run'":  "-- run --\n" + script,
		"if true; then for i in 1 2; do sh run; done; fi": "-- run --\n" + script,
		"bash args charts/app":                            "-- args --\nhelm upgrade -i app \"$1\" --set image.tag=followed\nkubectl apply -f https://e.example/x.yaml\n",
	} {
		r := scanFS(t, contextOf(optionChart+"-- Kubefile --\nFROM scratch\nCMD [\""+command+"\"]\n"+files))
		if got := show(r); !slices.Contains(got, "certain quay.io/o/app:followed charts/app/templates/p.yaml:5") {
			t.Errorf("%s: found %q", command, got)
		}
		if got := problems(r); len(got) != 1 || !strings.Contains(got[0], "error") || !strings.Contains(got[0], "kubectl would fetch") {
			t.Errorf("%s: told %q", command, got)
		}
	}
}

func TestManifestsInCalledScriptsAreSearched(t *testing.T) {
	wants(t, scanFS(t, contextOf(`
-- Kubefile --
FROM scratch
ENV REG=reg.example
CMD ["/opt/install"]
-- opt/install --
#!/bin/sh
TAG=2
for name in a b; do
cat <<EOF | kubectl apply -f -
apiVersion: v1
kind: Pod
spec: {containers: [{image: "$REG/$name:$TAG"}]}
$EMPTY
EOF
done
	kubectl apply -f - <<-'EOF'
	apiVersion: v1
	kind: Pod
	spec: {containers: [{image: quoted:1}]}
	EOF
pod='apiVersion: v1
kind: Pod
spec: {containers: [{image: "text:1"}]}'
echo "$pod" | kubectl apply -f -
kubectl run x --image quay.io/k/run:$TAG
kubectl set image deploy/x c=quay.io/k/set:1
-- scripts/other.sh --
kubectl apply -f - <<EOF
apiVersion: v1
kind: Pod
spec: {containers: [{image: "uncalled:1"}]}
EOF
`)), []string{
		"certain docker.io/library/quoted:1 opt/install:14", "certain docker.io/library/text:1 opt/install:19",
		"certain reg.example/a:2 opt/install:7", "certain reg.example/b:2 opt/install:7",
		"suspected docker.io/library/uncalled:1 scripts/other.sh:4", "suspected quay.io/k/run:2 opt/install:20", "suspected quay.io/k/set:1 opt/install:21",
	}, nil)
}

func TestValuesThatAScriptWritesCount(t *testing.T) {
	wants(t, scanFS(t, contextOf(optionChart+`
-- Kubefile --
FROM scratch
CMD ["bash up.sh"]
-- up.sh --
if [ "$(uname -m)" = x86_64 ]; then SIDE=side:1; else SIDE=side:2; fi
cat > /tmp/values.yaml <<EOF
image: {tag: written}
agent: {enabled: true}
side: $SIDE
EOF
helm upgrade -i app charts/app -f /tmp/values.yaml
`)), []string{
		"certain quay.io/o/app:written charts/app/templates/p.yaml:5", "certain quay.io/o/agent:1 charts/app/templates/p.yaml:7",
		"certain docker.io/library/side:1 charts/app/templates/p.yaml:13", "certain docker.io/library/side:2 charts/app/templates/p.yaml:13",
	}, nil)
}

func TestScriptsInOtherLanguagesAreLookedThrough(t *testing.T) {
	const told = "no script of a shell: of what it has helm and kubectl do, only what stands in quotes beside them is seen"
	r := scanFS(t, contextOf(optionChart+`
-- Kubefile --
FROM scratch
CMD ["./deploy.py", "python3 -u opt/more.py"]
-- deploy.py --
#!/usr/bin/env python3
import os, subprocess
# helm upgrade app charts/app --set image.tag=comment
subprocess.run([
    "helm", "upgrade", "--install", "app", "./charts/app",
    "--set", "image.tag=py", "--set", "agent.image=" + agent, "--wait",
], check=True)
os.system("cd charts && helm install two app --set image.tag=system")
os.system(f"kubectl apply -f https://e.example/{version}.yaml")
-- opt/more.py --
subprocess.check_call(['helm', 'install', 'x', 'oci://r.example/x'], env=env)
subprocess.check_call(['helm', 'install', 'x', 'y', '--repo', REPO])
print("done")
`))
	images := show(r)
	for _, tag := range []string{"py", "system"} {
		if !slices.Contains(images, "certain quay.io/o/app:"+tag+" charts/app/templates/p.yaml:5") {
			t.Errorf("%s is not among %q", tag, images)
		}
	}
	var got []string
	for _, p := range problems(r) {
		got = append(got, strings.Split(p, ", which")[0])
	}
	if diff := cmp.Diff([]string{
		"warning deploy.py:4 " + told,
		"warning deploy.py:4 --set agent.image=$… is known at run time only",
		"warning deploy.py:4 Helm options known at run time only, charts are rendered without them: agent.image",
		"warning deploy.py:9 kubectl would fetch https://e.example/$….yaml",
		"warning opt/more.py:1 " + told,
		"warning opt/more.py:1 helm would fetch oci://r.example/x",
		"warning opt/more.py:2 helm would fetch $…",
	}, got); diff != "" {
		t.Error(diff)
	}
}

func TestATextThatIsNoShellIsNotPassedOverInSilence(t *testing.T) {
	for script, want := range map[string]string{
		"if true; then\nhelm upgrade -i app charts/app --set image.tag=seen\n": "error run:1 not read as a shell script",
		"if true; then\necho a\n":                         "warning run:1 not read as a shell script",
		"f() { x; }; [[ a == b ]]; g() (y); echo $'a\\n'": "",
	} {
		r := scanFS(t, contextOf(optionChart+"-- Kubefile --\nFROM scratch\nCMD [\"bash run\"]\n-- run --\n"+script))
		got := problems(r)
		if want == "" && got != nil || want != "" && (len(got) == 0 || !strings.HasPrefix(got[len(got)-1], want)) {
			t.Errorf("%s: %q", script, got)
		}
		if seen := strings.Contains(strings.Join(show(r), " "), "app:seen"); seen != strings.Contains(script, "seen") {
			t.Errorf("%s: %q", script, show(r))
		}
	}
	if got := problems(scanFS(t, contextOf("-- Kubefile --\nFROM scratch\nCMD [\"helm install 'x\"]\n"))); len(got) == 0 || !strings.HasPrefix(got[0], "error Kubefile:2") {
		t.Errorf("a command: %q", got)
	}
}

func TestVariablesOfTheImageReachItsCommands(t *testing.T) {
	const (
		at      = " charts/app/templates/p.yaml:5"
		follows = " of the image's ENV: the image is gathered that this value names, and no other that a site may set with --env"
		which   = ", which says what image is needed: give it in the Kubefile's ENV, or " + listThem
	)
	for name, tc := range map[string]struct {
		env, command, script string
		image                string
		problem              string
	}{
		"in a command": {
			env: "TAG=e", command: "helm upgrade -i a charts/app --set image.tag=$TAG", image: "e",
			problem: "warning Kubefile:3 --set image.tag=e follows from TAG" + follows,
		},
		"as Kubernetes writes it, also between single quotes": {
			env: "TAG=e", command: "helm upgrade -i a charts/app --set 'image.tag=$(TAG)'", image: "e",
			problem: "warning Kubefile:3 --set image.tag=e follows from TAG" + follows,
		},
		"in a script": {
			env: "TAG=e", command: "bash run", script: "helm upgrade -i a charts/app --set image.tag=$TAG", image: "e",
			problem: "warning run:1 --set image.tag=e follows from TAG" + follows,
		},
		"through a variable of the script": {
			env: "TAG=e", command: "bash run", script: "T=${TAG:-d}-x\nhelm upgrade -i a charts/app --set image.tag=$T", image: "e-x",
			problem: "warning run:2 --set image.tag=e-x follows from TAG" + follows,
		},
		"a default": {env: "A=b", command: "bash run", script: "helm upgrade -i a charts/app --set image.tag=${TAG:-d}", image: "d"},
		"exported":  {env: "A=b", command: "export TAG=x && bash run", script: "helm upgrade -i a charts/app --set image.tag=$TAG", image: "x"},
		"for one command": {
			env: "TAG=e", command: "TAG=one bash run", script: "helm upgrade -i a charts/app --set image.tag=$TAG", image: "one",
		},
		"by env":  {env: "A=b", command: "env TAG=one ./run", script: "helm upgrade -i a charts/app --set image.tag=$TAG", image: "one"},
		"sourced": {env: "A=b", command: ". ./run; helm upgrade -i a charts/app --set image.tag=$TAG", script: "TAG=s", image: "s"},
		"of both branches": {
			env: "A=b", command: "bash run", script: "TAG=1; if [ $A = c ]; then TAG=2; fi; helm upgrade -i a charts/app --set image.tag=$TAG", image: "1",
		},
		"the chart": {env: "CHART=charts/app", command: "helm upgrade -i a $CHART --set image.tag=c", image: "c"},
		"without a value": {
			env: "A=b", command: "bash run", script: "helm upgrade -i a charts/app --set x=$A,image.tag=$TAG", image: "v1",
			problem: "error run:1 --set image.tag=$… needs a value of TAG" + which,
		},
		"of a command that is not run": {
			env: "A=b", command: "helm upgrade -i a charts/app --set image.tag=$(date +%s)", image: "v1",
			problem: "error Kubefile:3 --set image.tag=$… is known at run time only" + which,
		},
		"that decides about no image": {
			env: "A=b", command: "helm upgrade -i a charts/app --set replicas=$N,ingress.host=$(HOST)", image: "v1",
			problem: "warning Kubefile:3 Helm options known at run time only, charts are rendered without them: replicas, ingress.host",
		},
		"of kubectl": {
			env: "A=b", command: "kubectl run x --image=quay.io/o/x:$V", image: "v1",
			problem: "error Kubefile:3 kubectl --image=quay.io/o/x:$… needs a value of V" + which,
		},
	} {
		text := optionChart + "-- Kubefile --\nFROM scratch\nENV " + tc.env + "\nCMD [\"" + tc.command + "\"]\n"
		r := scanFS(t, contextOf(text+"-- run --\n"+tc.script+"\n"))
		if got := show(r); !slices.Contains(got, "certain quay.io/o/app:"+tc.image+at) {
			t.Errorf("%s: found %q", name, got)
		}
		want := []string{}
		if tc.problem != "" {
			want = append(want, tc.problem)
		}
		got := slices.DeleteFunc(append([]string{}, problems(r)...), func(p string) bool {
			return strings.Contains(p, "rendered without them") && strings.Contains(tc.problem, "error")
		})
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestAChartWhoseNameHasNoValueIsAnError(t *testing.T) {
	const other = "-- charts/other/Chart.yaml --\n{apiVersion: v2, name: other, version: 1.0.0}\n"
	for command, want := range map[string]string{
		"helm upgrade -i x $CHART":                         "error Kubefile:2 $… needs a value of CHART, which says what chart is installed",
		"helm upgrade -i x charts/$(cat name)":             "error Kubefile:2 charts/$… is known at run time only, which says what chart is installed",
		"helm upgrade -i $X $CHART $OPTS":                  "error Kubefile:2 $… needs a value of X, CHART, OPTS, which says",
		"helm upgrade -i x $DIR/charts/app":                "",
		"helm upgrade -i x charts/ap$N --set agent.a=b":    "",
		"helm upgrade $OPTS x charts/app":                  "",
		"for c in charts/*; do helm upgrade -i x $c; done": "",
	} {
		k := "-- Kubefile --\nFROM scratch\nCMD [\"" + command + "\"]\n"
		got := problems(scanFS(t, contextOf(optionChart+other+k)))
		if want == "" && got != nil || want != "" && (len(got) != 1 || !strings.HasPrefix(got[0], want)) {
			t.Errorf("%s: %q", command, got)
		}
		if got := problems(scanFS(t, contextOf(optionChart+k))); got != nil { // the only one there is
			t.Errorf("%s, with one chart: %q", command, got)
		}
	}
}
