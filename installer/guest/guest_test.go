package guest_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sealbuild/sealbuild/installer/guest"
)

var env = map[string]string{
	"NAME": "hello", "HELM_OPTS": "", "A": "1", "AB": "2", "LOOP": "$(LOOP) $A $$", "dotted.key": "d", "_x9": "u",
}

func TestReferencesAreReplacedAndTheRestIsLeftToTheShell(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"":                             "",
		"plain text":                   "plain text",
		"helm upgrade -i $(NAME) x":    "helm upgrade -i hello x",
		"a ${NAME} b $NAME c":          "a hello b hello c",
		"$(NAME)$(NAME)":               "hellohello",
		"$NAME-x $NAME.y":              "hello-x hello.y",
		"$A$AB${A}B":                   "121B",
		"x $(HELM_OPTS)":               "x ",
		"$_x9":                         "u",
		"$(dotted.key) ${dotted.key}":  "d d",
		"$(LOOP)":                      "$(LOOP) $A $$",
		"$$NAME $$(NAME) $$${A} $$$$":  "$NAME $(NAME) $1 $$",
		"$(date) `date` $(echo $NAME)": "$(date) `date` $(echo hello)",
		"$UNSET ${UNSET} $(UNSET)":     "$UNSET ${UNSET} $(UNSET)",
		"${UNSET:-$(NAME)} ${NAME:-x}": "${UNSET:-hello} ${NAME:-x}",
		"$? $1 $# $@ $! $":             "$? $1 $# $@ $! $",
		`\$NAME \\$NAME \`:             `\$NAME \\hello \`,
		"$() ${} $( ${ $(NAME":         "$() ${} $( ${ $(NAME",
		"é$(NAME)ü":                    "éhelloü",
	} {
		got, err := guest.Expand(in, env)
		if err != nil {
			t.Errorf("Expand(%q): %v", in, err)
		}
		if got != want {
			t.Errorf("Expand(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestWhatNoShellLineCanBeIsRefused(t *testing.T) {
	t.Parallel()
	big := map[string]string{"BIG": strings.Repeat("x", 1<<10), "ZERO": "a\x00b"}
	for name, tc := range map[string]struct {
		in   string
		want error
	}{
		"zero byte":          {"a\x00b", guest.ErrZero},
		"zero byte in value": {"$ZERO", guest.ErrZero},
		"long text":          {strings.Repeat("x", guest.MaxLine+1), guest.ErrTooLong},
		"long by expansion":  {strings.Repeat("$(BIG)", 200), guest.ErrTooLong},
	} {
		if _, err := guest.Expand(tc.in, big); !errors.Is(err, tc.want) {
			t.Errorf("%s: error %v, want %v", name, err, tc.want)
		}
	}
	if _, err := guest.Expand(strings.Repeat("x", guest.MaxLine), nil); err != nil {
		t.Errorf("a line of MaxLine bytes is refused: %v", err)
	}
}

func TestEachElementIsOneLine(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		entrypoint, cmd, want []string
	}{
		"several commands":      {nil, []string{"bash a.sh", "helm upgrade -i $(NAME) c"}, []string{"bash a.sh", "helm upgrade -i hello c"}},
		"entrypoint before cmd": {[]string{"one"}, []string{"two"}, []string{"one", "two"}},
		"shell form":            {nil, []string{"/bin/sh", "-c", "a && b"}, []string{"a && b"}},
		"shell form twice":      {[]string{"/bin/sh", "-c", "a"}, []string{"/bin/sh", "-c", "b"}, []string{"a", "b"}},
		"bash by name":          {nil, []string{"bash", "-c", "a"}, []string{"a"}},
		"bash with a script":    {nil, []string{"bash entrypoint.sh"}, []string{"bash entrypoint.sh"}},
		"blank elements":        {nil, []string{"", " ", "$(HELM_OPTS)", "x"}, []string{"x"}},
		"nothing":               {nil, nil, nil},
	} {
		got := guest.Lines(tc.entrypoint, tc.cmd, env)
		if diff := cmp.Diff(tc.want, got); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", name, diff)
		}
	}
}

func TestElementThatCannotBeExpandedIsNotDropped(t *testing.T) {
	t.Parallel()
	got := guest.Lines(nil, []string{"ok", "a\x00$NAME"}, env)
	if diff := cmp.Diff([]string{"ok", "a\x00$NAME"}, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}
