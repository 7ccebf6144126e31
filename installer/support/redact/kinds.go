package redact

import (
	"regexp"
	"strings"
)

// nameByte tells whether a byte may stand in the name of a setting.
func nameByte(b byte) bool { return wordByte(b) || b == '.' || b == '-' }

// assignments finds secrets behind a name and an equals sign or a colon: in environments, YAML, headers, JSON (also within a
// string).
func (r *Redactor) assignments(s string) (out []span) {
	for i := 0; i < len(s); i++ {
		if s[i] != '=' && s[i] != ':' {
			continue
		}
		from, to := nameBefore(s, i)
		if from == to || r.kindOf(s[from:to]) == plain {
			continue
		}
		if at, ok := r.valueAt(s, from, to, i); ok {
			out = append(out, at)
			i = max(i, at.to-1)
		}
	}
	return out
}

// nameBefore finds the name that ends before a sign, with blanks and quotes between.
func nameBefore(s string, sign int) (from, to int) {
	to = sign
	for to > 0 && (s[to-1] == ' ' || s[to-1] == '\t') && sign-to < 40 {
		to--
	}
	if to > 0 && (s[to-1] == '"' || s[to-1] == '\'') {
		for to--; to > 0 && s[to-1] == '\\'; {
			to--
		}
	}
	from = to
	for from > 0 && nameByte(s[from-1]) && to-from < 128 {
		from--
	}
	return from, to
}

// valueAt finds the value behind a sign, if it is a secret.
func (r *Redactor) valueAt(s string, nameFrom, nameTo, sign int) (span, bool) {
	name := s[nameFrom:nameTo]
	v := sign + 1
	for v < len(s) && (s[v] == ' ' || s[v] == '\t') {
		v++
	}
	if v == len(s) || s[v] == '\n' || s[v] == '=' || s[v] == '{' || s[v] == '[' {
		return span{}, false
	}
	before := strings.TrimLeft(s[strings.LastIndexByte(s[:nameFrom], '\n')+1:nameFrom], " \t")
	first := s[nameFrom] != '-' && (before == "" || before == "- " || before == "export " || before == `"` || before == "'" || before == "> " || before == "< ")
	quotedName := nameTo < sign && strings.ContainsAny(s[nameTo:sign], `"'`)
	if quote := quoteAt(s, v); quote != "" {
		from := v + len(quote)
		at := span{from, quoteEnd(s, from, quote)}
		return at, r.tells(name, s[at.from:at.to], true)
	}
	if s[sign] == ':' && (s[v] == '|' || s[v] == '>') && first {
		at, ok := block(s, nameFrom, v)
		return at, ok
	}
	at := span{v, v}
	switch {
	case first && !quotedName && (s[sign] == '=' || sign+1 < v): // all that the line has
		at.to = v + strings.IndexByte(s[v:]+"\n", '\n')
		at.to = at.from + len(strings.TrimRight(s[at.from:at.to], " \t\r"))
		return at, r.tells(name, s[at.from:at.to], true)
	case quotedName:
		at.to = wordEnd(s, v, ",}] \t\r\n\"'\\")
	default:
		at.to = wordEnd(s, v, " \t\r\n\"'`")
		if s[sign] == ':' {
			at.to = v + len(strings.TrimRight(s[v:at.to], ",;"))
		}
	}
	return at, at.to > at.from && r.tells(name, s[at.from:at.to], s[sign] == '=' || quotedName)
}

// quoteAt is the quote that begins at a place, with the backslashes before it; empty for none.
func quoteAt(s string, i int) string {
	k := i
	for k < len(s) && s[k] == '\\' {
		k++
	}
	if k < len(s) && (s[k] == '"' || s[k] == '\'') {
		return s[i : k+1]
	}
	return ""
}

// quoteEnd finds the end of what is quoted: the same quote with as many backslashes, or the end of the line.
func quoteEnd(s string, from int, quote string) int {
	for at := from; ; {
		i := strings.Index(s[at:], quote)
		if line := strings.IndexByte(s[at:], '\n'); i < 0 || line >= 0 && line < i {
			if line < 0 {
				return len(s)
			}
			return at + line
		}
		at += i
		if at == from || s[at-1] != '\\' {
			return at
		}
		at += len(quote)
	}
}

func wordEnd(s string, from int, ends string) int {
	if i := strings.IndexAny(s[from:], ends); i >= 0 {
		return from + i
	}
	return len(s)
}

// block is the lines of a YAML block that follows a name: those that are indented deeper than it.
func block(s string, nameFrom, v int) (span, bool) {
	indent := nameFrom - (strings.LastIndexByte(s[:nameFrom], '\n') + 1)
	end := wordEnd(s, v, "\n") + 1
	at := span{min(end, len(s)), min(end, len(s))}
	for at.to < len(s) {
		line, _, _ := strings.Cut(s[at.to:], "\n")
		text := strings.TrimLeft(line, " ")
		if text != "" && len(line)-len(text) <= indent {
			break
		}
		at.to = min(at.to+len(line)+1, len(s))
	}
	at.from += len(s[at.from:at.to]) - len(strings.TrimLeft(s[at.from:at.to], " "))
	for at.to > at.from && s[at.to-1] == '\n' {
		at.to--
	}
	return at, at.to > at.from
}

// loginFlag is a login as programs take it on their command line.
var loginFlag = regexp.MustCompile(`(?:^|[\s"'])(?:-u|--user|--proxy-user|--creds)(?:[\s"',=]+)[^\s:"'/]+:([^\s"']+)`)

// sshpass has its password behind -p.
var sshpass = regexp.MustCompile(`sshpass\s+-p\s*["']?([^\s"']+)`)

// arguments finds secrets behind the name of a flag, in a command line, in JSON or in a list of YAML.
func (r *Redactor) arguments(s string) (out []span) {
	for i := 0; ; {
		n := strings.Index(s[i:], "--")
		if n < 0 {
			break
		}
		from := i + n + 2
		to := from
		for to < len(s) && nameByte(s[to]) {
			to++
		}
		i = max(to, from)
		if to == from || from > 2 && (nameByte(s[from-3]) && s[from-3] != 'n') || r.kindOf(s[from:to]) == plain {
			continue // n: behind \n
		}
		v := to
		for v < len(s) && strings.IndexByte(" \t\"',\\\r\n-", s[v]) >= 0 {
			v++
		}
		between := s[to:v]
		if _, next, lines := strings.Cut(between, "\n"); between == "" || strings.Contains(between, "--") || lines && strings.Trim(next, " ") != "-" {
			continue // a value is on the next line in a list of YAML only
		}
		end := wordEnd(s, v, " \t\r\n\"',\\")
		if end > v && r.tells(s[from:to], s[v:end], true) {
			out = append(out, span{v, end})
		}
	}
	if strings.Contains(s, "-u") || strings.Contains(s, "-creds") {
		out = append(out, groups(loginFlag, s)...)
	}
	if strings.Contains(s, "sshpass") {
		out = append(out, groups(sshpass, s)...)
	}
	return out
}

func groups(e *regexp.Regexp, s string) (out []span) {
	for _, m := range e.FindAllStringSubmatchIndex(s, -1) {
		for g := 2; g < len(m); g += 2 {
			if m[g] >= 0 && m[g+1] > m[g] {
				out = append(out, span{m[g], m[g+1]})
			}
		}
	}
	return out
}

// dsn is a login as Go's drivers of databases take it.
var dsn = regexp.MustCompile(`[\w.-]+:([^\s@/"']+)@(?:tcp|unix)\(`)

// longestURL bounds what is looked at of a URL, in bytes.
const longestURL = 8 << 10

// urls finds the passwords of URLs, and tokens in place of a user.
func urls(s string) (out []span) {
	for i := 0; ; {
		n := strings.Index(s[i:], "://")
		if n < 0 {
			break
		}
		from := i + n + 3
		i = from
		near := s[:min(len(s), from+longestURL)]
		end := wordEnd(near, from, " \t\r\n\"'<>`")
		authority := s[from:wordEnd(near, from, " \t\r\n\"'<>`/?#\\")]
		if !strings.Contains(authority, "@") {
			_, port, has := strings.Cut(authority, ":")
			if !has || strings.Trim(port, "0123456789") == "" {
				continue
			}
			authority = s[from:end] // a password that should have been escaped
		}
		at := strings.LastIndexByte(authority, '@')
		if at < 0 {
			continue
		}
		if colon := strings.IndexByte(authority[:at], ':'); colon >= 0 && colon+1 < at {
			out = append(out, span{from + colon + 1, from + at})
		} else if colon < 0 && at >= 16 {
			out = append(out, span{from, from + at})
		}
	}
	if strings.Contains(s, "@tcp(") || strings.Contains(s, "@unix(") {
		out = append(out, groups(dsn, s)...)
	}
	return out
}

var (
	bearer        = regexp.MustCompile(`(?i)bearer[ \t:=]+["'\\]*([A-Za-z0-9._~+/=-]{8,})`)
	authorization = regexp.MustCompile(`(?i)authorization["'\\]*\s*[:=]\s*[\["'\\]*(?:[A-Za-z]+[ \t]+)?([^\s"'\\,\]]+)`)
	cookie        = regexp.MustCompile(`(?i)\b(?:set-)?cookie["'\\]*\s*:\s*[\["'\\]*([^"'\n\\\]]+)`)
)

// headers finds what authorizes a request.
func headers(s string) (out []span) {
	if strings.Contains(s, "earer") || strings.Contains(s, "EARER") {
		out = append(out, groups(bearer, s)...)
	}
	if strings.Contains(s, "uthorization") || strings.Contains(s, "UTHORIZATION") {
		out = append(out, groups(authorization, s)...)
	}
	if strings.Contains(s, "ookie") || strings.Contains(s, "OOKIE") {
		out = append(out, groups(cookie, s)...)
	}
	return out
}

// forms are secrets that are known by how they begin, and the least length of each.
var forms = []struct {
	begin string
	least int
}{
	{"ghp_", 30},
	{"gho_", 30},
	{"ghs_", 30},
	{"ghu_", 30},
	{"github_pat_", 30},
	{"glpat-", 20},
	{"xoxb-", 20},
	{"xoxp-", 20},
	{"hvs.", 20},
	{"npm_", 30},
	{"AGE-SECRET-KEY-", 30},
	{"AKIA", 20},
	{"ASIA", 20},
	{"dckr_pat_", 20},
	{"eyJhdXRo", 16},       // base64 of {"auth, as in the configuration of docker
	{"eyJ", 20},            // base64 of {": if it is the first of three parts
	{"LS0tLS1CRUdJTi", 24}, // base64 of PEM: if it is a private key
}

// tokens finds secrets that are known by their form.
func tokens(s string) (out []span) {
	for _, form := range forms {
		for i := 0; ; {
			n := strings.Index(s[i:], form.begin)
			if n < 0 {
				break
			}
			from := i + n
			to := from
			for to < len(s) && (base64Byte(s[to]) || s[to] == '.') {
				to++
			}
			i = max(to, from+1)
			word := s[from:to]
			switch {
			case len(word) < form.least, from > 0 && wordByte(s[from-1]) && form.begin[0] != 'L':
			case form.begin == "eyJ" && strings.Count(word, ".") < 2:
			case form.begin == "LS0tLS1CRUdJTi" && !holdsKey(word):
			default:
				out = append(out, span{from, to})
			}
		}
	}
	return append(out, bootstrapTokens(s)...)
}

// holdsKey tells whether a text of base64 begins with a private key.
func holdsKey(word string) bool {
	head := word[:min(len(word), 80)/4*4]
	text, _ := decoded(head)
	return strings.Contains(text, keyLabel)
}

// bootstrapTokens finds tokens of kubeadm: six characters, a dot, sixteen.
func bootstrapTokens(s string) (out []span) {
	small := func(b byte) bool { return b >= 'a' && b <= 'z' || b >= '0' && b <= '9' }
	for i := 0; ; {
		n := strings.IndexByte(s[i:], '.')
		if n < 0 {
			return out
		}
		dot := i + n
		i = dot + 1
		from, to := dot, dot+1
		for from > 0 && small(s[from-1]) && dot-from < 7 {
			from--
		}
		for to < len(s) && small(s[to]) && to-dot < 18 {
			to++
		}
		ends := strings.TrimLeft(s[to:min(len(s), to+2)], ".") // the dot at the end of a sentence
		if dot-from == 6 && to-dot == 17 && (from == 0 || !nameByte(s[from-1])) && (ends == "" || !nameByte(ends[0])) {
			out = append(out, span{from, to})
		}
	}
}
