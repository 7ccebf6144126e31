package host

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// configLine is a line of an ssh_config file that is neither empty nor a comment.
type configLine struct {
	file    string
	number  int
	keyword string   // in lower case
	text    string   // all of it
	args    []string // of Host, Match and Include
	files   [][]configLine
}

func (l configLine) place() string { return fmt.Sprintf("%s line %d", l.file, l.number) }

// readKeywords are the keywords that have an effect here, beside Host, Match and Include.
var readKeywords = [...]string{"hostname", "user", "port", "identityfile", "certificatefile", "proxyjump", "proxycommand"}

// Includes are followed as deep as ssh follows them, and to so many files in all.
const (
	maxIncludeDepth = 16
	maxConfigFiles  = 512
)

// configReader reads a file and those it includes.
type configReader struct {
	home  string
	files int
}

func (r *configReader) read(name string, depth int) ([]configLine, error) {
	if r.files++; depth > maxIncludeDepth || r.files > maxConfigFiles {
		return nil, fmt.Errorf("%s: too many files are included, or in a circle", name)
	}
	text, err := readBounded(name, maxUserConfig)
	if err != nil {
		return nil, err
	}
	var lines []configLine
	number := 0
	for raw := range bytes.Lines(text) {
		number++
		l := configLine{file: name, number: number, text: strings.TrimSpace(string(raw))}
		if l.text == "" || l.text[0] == '#' {
			continue
		}
		keyword, rest := cutKeyword(l.text)
		l.keyword = strings.ToLower(keyword)
		switch l.keyword {
		case "host", "match", "include":
			if l.args, err = configWords(rest); err != nil {
				return nil, fmt.Errorf("%s: %w", l.place(), err)
			}
		}
		if l.keyword == "include" {
			if l.files, err = r.include(l, depth+1); err != nil {
				return nil, err
			}
		}
		lines = append(lines, l)
	}
	return lines, nil
}

// include reads the files that a line names: patterns, relative to ~/.ssh. A file that does not exist is no error.
func (r *configReader) include(l configLine, depth int) ([][]configLine, error) {
	var out [][]configLine
	for _, pattern := range l.args {
		pattern = expandEnv(pattern)
		if rest, ok := strings.CutPrefix(pattern, "~/"); ok {
			pattern = filepath.Join(r.home, rest)
		} else if !filepath.IsAbs(pattern) {
			pattern = filepath.Join(r.home, ".ssh", pattern)
		}
		names, err := filepath.Glob(pattern)
		if err != nil {
			return nil, fmt.Errorf("%s: %q: %w", l.place(), pattern, err)
		}
		for _, name := range names {
			if info, err := os.Stat(name); err == nil && info.IsDir() {
				continue
			}
			lines, err := r.read(name, depth)
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				return nil, fmt.Errorf("%s: %w", l.place(), err)
			}
			out = append(out, lines)
		}
	}
	return out, nil
}

// cutKeyword splits a line into its keyword and, after blanks or one =, its arguments.
func cutKeyword(line string) (keyword, rest string) {
	end := strings.IndexAny(line, " \t=")
	if end < 0 {
		return line, ""
	}
	keyword, rest = line[:end], strings.TrimLeft(line[end:], " \t")
	if after, ok := strings.CutPrefix(rest, "="); ok {
		rest = strings.TrimLeft(after, " \t")
	}
	return keyword, rest
}

var errQuotes = errors.New("a quote is not closed")

// configWords splits arguments: at blanks, with quotes of both kinds, up to a comment.
func configWords(text string) ([]string, error) {
	var words []string
	var word strings.Builder
	var quote byte
	inWord := false
	for i := 0; i < len(text); i++ {
		c := text[i]
		switch {
		case c == '\\' && i+1 < len(text) && (strings.IndexByte(`\'"`, text[i+1]) >= 0 || quote == 0 && text[i+1] == ' '):
			i++
			word.WriteByte(text[i])
			inWord = true
		case quote != 0:
			if c == quote {
				quote = 0
			} else {
				word.WriteByte(c)
			}
		case c == '"' || c == '\'':
			quote, inWord = c, true
		case c == ' ' || c == '\t' || c == '\r':
			if inWord {
				words = append(words, word.String())
				word.Reset()
			}
			inWord = false
		case c == '#' && !inWord:
			return words, nil
		default:
			word.WriteByte(c)
			inWord = true
		}
	}
	if quote != 0 {
		return nil, errQuotes
	}
	if inWord {
		words = append(words, word.String())
	}
	return words, nil
}

// expandEnv replaces ${NAME} by its value. A variable that is not set stays as it is written: the message that the file is not
// found then shows it.
func expandEnv(text string) string {
	return regexp.MustCompile(`\$\{\w+\}`).ReplaceAllStringFunc(text, func(v string) string {
		if value, ok := os.LookupEnv(v[2 : len(v)-1]); ok {
			return value
		}
		return v
	})
}
