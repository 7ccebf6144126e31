package scan

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/unicode"
)

// encodings are what text comes in: those of Windows' shells and editors, too.
var encodings = map[string]encoding.Encoding{
	"UTF-8":                      encoding.Nop,
	"UTF-8 with a mark":          unicode.UTF8BOM,
	"UTF-16, little, marked":     unicode.UTF16(unicode.LittleEndian, unicode.UseBOM),
	"UTF-16, big, marked":        unicode.UTF16(unicode.BigEndian, unicode.UseBOM),
	"UTF-16, little, not marked": unicode.UTF16(unicode.LittleEndian, unicode.IgnoreBOM),
	"UTF-16, big, not marked":    unicode.UTF16(unicode.BigEndian, unicode.IgnoreBOM),
	"Windows-1252":               charmap.Windows1252,
	"Latin-1":                    charmap.ISO8859_1,
}

func TestTextIsReadInEveryEncodingAndWithEveryLineEnding(t *testing.T) {
	const umlauts = "# f\u00fcr \u00e4lle: caf\u00e9\n"
	files := map[string]string{
		"images/shim/list":             umlauts + "quay.io/a/list:1\n",
		"manifests/pod.yaml":           umlauts + "apiVersion: v1\nkind: Pod\nspec: {containers: [{image: 'quay.io/a/pod:1'}]}\n",
		"manifests/no-extension":       umlauts + "apiVersion: v1\nkind: Pod\nspec: {containers: [{image: 'quay.io/a/plain:1'}]}\n",
		"manifests/app.conf":           umlauts + "worker.image=quay.io/a/conf:1\n",
		"manifests/run.sh":             umlauts + "kubectl run x --image=quay.io/a/run:1\n",
		"charts/app/Chart.yaml":        umlauts + "{apiVersion: v2, name: app, version: 1.0.0}\n",
		"charts/app/values.yaml":       umlauts + "image: quay.io/a/no:1\n",
		"charts/app.values.yaml":       umlauts + "image: quay.io/a/chart:1\n",
		"charts/app/templates/p.yaml":  umlauts + "apiVersion: v1\nkind: Pod\nspec: {containers: [{image: {{ .Values.image }}}]}\n",
		".sealignore":                  umlauts + "quay.io/a/left:*\n",
		"images/shim/left":             umlauts + "quay.io/a/left:1\n",
		"manifests/config-map.yml":     umlauts + "apiVersion: v1\nkind: ConfigMap\ndata:\n  x.yaml: |\n    base: quay.io/a\n    c: {image: map, tag: '1'}\n",
		"manifests/sub/dir/more.json":  `{"apiVersion":"v1","kind":"Pod","spec":{"containers":[{"image":"quay.io/a/json:1"}]}}`,
		"manifests/values.yaml.tmpl":   umlauts + "image: {{ .Env.NONE | default \"quay.io/a/tmpl:1\" }}\n",
		"images/skopeo/not-an-archive": umlauts,
	}
	want := []string{
		"certain quay.io/a/chart:1 charts/app/templates/p.yaml:4", "certain quay.io/a/json:1 manifests/sub/dir/more.json:1",
		"certain quay.io/a/list:1 images/shim/list:2", "certain quay.io/a/plain:1 manifests/no-extension:4",
		"certain quay.io/a/pod:1 manifests/pod.yaml:4", "suspected quay.io/a/conf:1 manifests/app.conf:2",
		"suspected quay.io/a/map:1 manifests/config-map.yml:7", "suspected quay.io/a/run:1 manifests/run.sh:2",
		"suspected quay.io/a/tmpl:1 manifests/values.yaml.tmpl:2",
	}
	for name, enc := range encodings {
		for _, ending := range []string{"\n", "\r\n"} {
			t.Run(name+strings.ReplaceAll(ending, "\r", " CR"), func(t *testing.T) {
				fsys := fstest.MapFS{}
				for file, text := range files {
					content, err := enc.NewEncoder().Bytes([]byte(strings.ReplaceAll(text, "\n", ending)))
					if err != nil {
						t.Fatal(err)
					}
					fsys[file] = &fstest.MapFile{Data: content}
				}
				wants(t, scanFS(t, fsys), want, nil)
			})
		}
	}
}

func TestAFileOfNoTextIsAnErrorWhereImagesMayBeInIt(t *testing.T) {
	fsys := fstest.MapFS{
		"images/shim/list":      {Data: []byte("quay.io/a/b:1\n\x00\x01\n")},
		"manifests/x.yaml":      {Data: []byte("a: \x00\x01\x02\n")},
		"manifests/y.json":      {Data: []byte("\xff\x00\xfe\x01 {}")},
		"manifests/odd.yml":     {Data: []byte("\xff\xfea\x00:")},
		"manifests/program":     {Data: []byte("\x7fELF\x00\x01 apiVersion image: a/b:1")},
		"charts/app.values.yml": {Data: []byte("x: y")},
	}
	wants(t, scanFS(t, fsys), nil, []string{
		"error images/shim/list:0 it holds no text, and is not searched for images: save it as UTF-8",
		"error manifests/odd.yml:0 it holds no text", "error manifests/x.yaml:0 it holds no text", "error manifests/y.json:0 it holds no text",
	})
}

func TestANameOfOtherBytesThanUTF8IsAnErrorThatCanBeRead(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"manifests/caf\xe9.yaml": "image: a/b:1\n", "images/shim/\xff": "a/b:1\n", "manifests/\xff\xfe/x.yaml": "image: a/b:1\n",
		"charts/\xe9t\xe9/Chart.yaml": "{apiVersion: v2, name: x, version: 1.0.0}\n", "charts/\xe9.tgz": "", "images/\xe9.tar": "",
		"charts/app/Chart.yaml": "{apiVersion: v2, name: app, version: 1.0.0}\n", "charts/app/templates/\xe9.yaml": "image: a/b:1\n",
		"deploy/\xe9/Chart.yaml": "{apiVersion: v2, name: x, version: 1.0.0}\n", "etc/\xe9.conf": "image: a/b:1\n",
		"manifests/two\nlines.yaml": "apiVersion: v1\nkind: Pod\nspec: {containers: [{image: 'quay.io/a/b:1'}, {name: b, image: 'quay.io/a/b:x y'}]}\n",
	} {
		write(t, filepath.Join(dir, name), text)
	}
	r, err := Dir(context.Background(), dir, nil, Options{})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range r.Errors {
		got = append(got, e.Error())
	}
	const end = " is not in UTF-8, and what it names is not searched for images: rename it"
	want := []string{
		`charts: the name "\xe9.tgz"` + end, `charts: the name "\xe9t\xe9"` + end, `charts/app/templates: the name "\xe9.yaml"` + end,
		`deploy: the name "\xe9"` + end, `images: the name "\xe9.tar"` + end, `images/shim: the name "\xff"` + end,
		`manifests: the name "caf\xe9.yaml"` + end, `manifests: the name "\xff\xfe"` + end,
		`manifests/two\nlines.yaml:3: containers of container b: not an image reference "quay.io/a/b:x y": invalid reference format` +
			`: name the image, or list it in images/shim and put this text into .sealignore`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("errors (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{`certain quay.io/a/b:1 manifests/two\nlines.yaml:3`}, show(r)); diff != "" {
		t.Errorf("images (-want +got):\n%s", diff)
	}
	record, err := json.Marshal(r)
	if err != nil || strings.Contains(string(record), `\ufffd`) {
		t.Errorf("the record is %s, %v", record, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "images/shim/\xff")); err != nil {
		t.Fatal(err)
	}
}

func TestMessagesHoldUTF8Only(t *testing.T) {
	c := newCollector(&ignoreList{})
	c.fail("a\xff.sh", 1, "open a\xff.sh")
	c.warn("a\xff.sh", 1, "open a\xff.sh")
	wants(t, c.result(), nil, []string{`warning a\xff.sh:1 open a?.sh`, `error a\xff.sh:1 open a?.sh`})
}

// FuzzText: what is taken for text is UTF-8 without NULs, and the same when it is read again.
func FuzzText(f *testing.F) {
	for _, enc := range encodings {
		text, err := enc.NewEncoder().Bytes([]byte("a: é\r\nimage: quay.io/a/b:1\n"))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Add([]byte("\xff\xfe\x00"))
	f.Add([]byte("\x00a\x00"))
	f.Fuzz(func(t *testing.T, content []byte) {
		text, ok := plainText(content)
		if !ok {
			return
		}
		if !utf8.Valid(text) || strings.ContainsRune(string(text), 0) {
			t.Fatalf("%q became %q", content, text)
		}
		if again, ok := plainText(text); ok && len(again) > len(text) {
			t.Fatalf("%q became %q", text, again)
		}
	})
}
