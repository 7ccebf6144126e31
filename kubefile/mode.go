package kubefile

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/shell"
)

// Mode is a symbolic mode, as chmod reads it: "u=rwX,go=rX".
type Mode struct{ clauses []clause }

// clause changes the bits of some users; copied is a user whose bits are taken, or 0.
type clause struct {
	users, op byte // users: bits 4 for u, 2 for g, 1 for o
	perms     string
	copied    byte
}

var (
	octal   = regexp.MustCompile(`^[0-7]{1,5}$`)
	clauses = regexp.MustCompile(`^([ugoa]*)((?:[-+=](?:[ugo]|[rwxXst]*))+)$`)
	actions = regexp.MustCompile(`([-+=])([rwxXstugo]*)`)
)

// parseMode reads a symbolic mode.
func parseMode(text string) (Mode, error) {
	var m Mode
	for part := range strings.SplitSeq(text, ",") {
		found := clauses.FindStringSubmatch(part)
		if found == nil {
			return Mode{}, fmt.Errorf("%q is no mode", text)
		}
		var users byte
		for _, u := range found[1] {
			users |= map[rune]byte{'u': 4, 'g': 2, 'o': 1, 'a': 7}[u]
		}
		if users == 0 {
			users = 7
		}
		for _, a := range actions.FindAllStringSubmatch(found[2], -1) {
			c := clause{users: users, op: a[1][0], perms: a[2]}
			if len(a[2]) == 1 && strings.Contains("ugo", a[2]) {
				c.perms, c.copied = "", a[2][0]
			}
			m.clauses = append(m.clauses, c)
		}
	}
	return m, nil
}

// Of applies the mode to the bits that a file or directory has, 07777.
func (m Mode) Of(bits uint32, dir bool) uint32 {
	for _, c := range m.clauses {
		var rwx uint32
		switch c.copied {
		case 'u':
			rwx = bits >> 6 & 7
		case 'g':
			rwx = bits >> 3 & 7
		case 'o':
			rwx = bits & 7
		}
		for _, p := range c.perms {
			switch {
			case p == 'r':
				rwx |= 4
			case p == 'w':
				rwx |= 2
			case p == 'x', p == 'X' && (dir || bits&0o111 != 0):
				rwx |= 1
			}
		}
		var set, all uint32
		for i, shift := range []uint32{0, 3, 6} {
			if c.users&(1<<i) != 0 {
				set |= rwx << shift
				all |= 7 << shift
			}
		}
		if strings.ContainsRune(c.perms, 's') {
			set |= uint32(c.users&6) << 9 // setuid and setgid stand above as u and g do
		}
		if strings.ContainsRune(c.perms, 't') {
			set |= 0o1000
		}
		switch c.op {
		case '+':
			bits |= set
		case '-':
			bits &^= set
		default:
			bits = bits&^(all|uint32(c.users&6)<<9) | set
		}
	}
	return bits
}

// Chmod is a COPY or ADD of files of the context with a symbolic mode. The builder knows octal ones only: it is to take the files,
// with their modes changed, out of the build context Context, which is not one of the user's.
type Chmod struct {
	Mode    Mode
	Context string
	Sources []Source
}

// Chmods are those of the stages that the last one needs.
func (f *File) Chmods() []Chmod {
	var all []Chmod
	for _, i := range f.needed() {
		all = append(all, f.Stages[i].chmods...)
	}
	return all
}

// readMode notes a symbolic mode of COPY or ADD.
func (f *File) readMode(lex *shell.Lex, in Instruction, sources []Source, elsewhere bool, sc *scope) error {
	var text string
	for _, flag := range in.Flags {
		if value, ok := strings.CutPrefix(flag, "--chmod="); ok {
			text = value
		}
	}
	value, _, err := lex.ProcessWord(text, sc)
	if err != nil || value == "" || octal.MatchString(value) {
		return err
	}
	stage := &f.Stages[len(f.Stages)-1]
	mode, err := parseMode(value)
	switch {
	case err != nil:
	case in.trigger:
		err = fmt.Errorf("the mode %s cannot be had here", value)
	case elsewhere:
		err = fmt.Errorf("the mode %s of files of another stage, image or context cannot be had", value)
	case stage.remote:
		err = fmt.Errorf("the mode %s of what comes from elsewhere cannot be had", value)
	case len(in.Heredocs) > 0 && len(sources) > 0:
		err = errors.New("here-documents and files cannot have a symbolic mode together")
	case len(in.Heredocs) > 0:
		f.rename(in, "--chmod=", text, fmt.Sprintf("%04o", mode.Of(0o644, false)))
		return nil
	}
	if err != nil {
		return f.ErrorAt(in, "--chmod="+text, "an octal mode, as 0755, or for files of the context a symbolic one, as u=rwX,go=rX", err)
	}
	c := Chmod{Mode: mode, Context: fmt.Sprintf("mode-%d-%d", len(f.Stages)-1, len(stage.chmods)), Sources: slices.Clone(sources)}
	stage.chmods = append(stage.chmods, c)
	now := "--from=" + c.Context
	if !slices.ContainsFunc(in.Flags, func(flag string) bool { return strings.HasPrefix(flag, "--chown=") }) {
		now += " --chown=0:0" // as what comes from the context has it
	}
	f.rename(in, "", "--chmod="+text, now)
	if in.Name == "ADD" {
		f.rewriteKeyword(in, "COPY")
	}
	return nil
}

// rewriteKeyword changes which instruction it is.
func (f *File) rewriteKeyword(in Instruction, now string) {
	text, ok := f.rewritten[in.Line]
	if !ok {
		text = f.src.lines[in.Line-1]
	}
	at := len(text) - len(strings.TrimLeft(text, " \t"))
	if f.rewritten == nil {
		f.rewritten = map[int]string{}
	}
	f.rewritten[in.Line] = text[:at] + now + text[at+len(in.Name):]
}
