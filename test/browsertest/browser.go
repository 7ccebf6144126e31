// Package browsertest shows pages in a real browser, without a window: Chromium, over its debugging pipe.
package browsertest

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"
)

// Page is a page in a browser.
type Page struct {
	t       *testing.T
	to      io.Writer
	from    *bufio.Reader
	session string
	calls   int
}

// patience bounds a test's time with the browser.
const patience = 3 * time.Minute

// Open shows a file. The test is skipped where no Chromium is installed.
func Open(t *testing.T, file string) *Page {
	t.Helper()
	program, err := exec.LookPath("chromium")
	if err != nil {
		t.Skip("no chromium is installed: hack/deps.sh browser brings it")
	}
	commands, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	r, answers, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	home, err := os.MkdirTemp("", "browser")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(
		program, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
		"--disable-background-networking", "--host-resolver-rules=MAP * ~NOTFOUND", "--remote-debugging-pipe", "--user-data-dir="+home, "about:blank",
	)
	cmd.ExtraFiles = []*os.File{commands, answers} // 3 and 4, as the pipe wants them
	cmd.Env = append(os.Environ(), "HOME="+home)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // what it starts ends with it
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	commands.Close()
	answers.Close()
	p := &Page{t: t, to: w, from: bufio.NewReader(r)}
	end := func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	guard := time.AfterFunc(patience, end)
	t.Cleanup(func() {
		guard.Stop()
		end()
		_ = cmd.Wait() // it was killed
		w.Close()
		r.Close()
		if err := os.RemoveAll(home); err != nil {
			t.Log(err)
		}
	})
	var targets struct{ TargetID string }
	p.call("Target.createTarget", map[string]any{"url": "about:blank"}, &targets)
	var attached struct{ SessionID string }
	p.call("Target.attachToTarget", map[string]any{"targetId": targets.TargetID, "flatten": true}, &attached)
	p.session = attached.SessionID
	p.call("Page.enable", nil, nil)
	p.call("Emulation.setScrollbarsHidden", map[string]any{"hidden": true}, nil) // they would cut into pictures
	p.send("Page.navigate", map[string]any{"url": (&url.URL{Scheme: "file", Path: file}).String()})
	p.await(func(m message) bool { return m.Method == "Page.loadEventFired" })
	return p
}

type message struct {
	ID     int             `json:"id"`
	Method string          `json:"method"`
	Result json.RawMessage `json:"result"`
	Error  json.RawMessage `json:"error"`
}

func (p *Page) send(method string, params any) {
	p.t.Helper()
	p.calls++
	text, err := json.Marshal(map[string]any{"id": p.calls, "method": method, "params": params, "sessionId": p.session})
	if params == nil {
		text, err = json.Marshal(map[string]any{"id": p.calls, "method": method, "sessionId": p.session})
	}
	if p.session == "" {
		text, err = json.Marshal(map[string]any{"id": p.calls, "method": method, "params": params})
	}
	if err == nil {
		_, err = p.to.Write(append(text, 0))
	}
	if err != nil {
		p.t.Fatalf("%s: %v", method, err)
	}
}

// await reads messages until one fits.
func (p *Page) await(fits func(message) bool) message {
	p.t.Helper()
	for {
		text, err := p.from.ReadBytes(0)
		if err != nil {
			p.t.Fatalf("the browser has ended: %v", err)
		}
		var m message
		if err := json.Unmarshal(text[:len(text)-1], &m); err != nil {
			p.t.Fatal(err)
		}
		if fits(m) {
			return m
		}
	}
}

func (p *Page) call(method string, params, result any) {
	p.t.Helper()
	p.send(method, params)
	m := p.await(func(m message) bool { return m.ID == p.calls })
	if m.Error != nil {
		p.t.Fatalf("%s: %s", method, m.Error)
	}
	if result != nil {
		if err := json.Unmarshal(m.Result, result); err != nil {
			p.t.Fatalf("%s: %v", method, err)
		}
	}
}

// Width makes the window so many pixels wide.
func (p *Page) Width(pixels int) {
	p.t.Helper()
	p.call("Emulation.setDeviceMetricsOverride", map[string]any{"width": pixels, "height": 900, "deviceScaleFactor": 1, "mobile": false}, nil)
}

// outside lists what reaches beyond the page's width, the innermost first. What an element hides or scrolls is outside, too.
const outside = `JSON.stringify([...document.body.querySelectorAll('*')].filter(e => !e.closest('svg') || e.tagName === 'svg')
.filter(e => { const r = e.getBoundingClientRect(); return r.width > 0 && (r.right > document.documentElement.clientWidth + 0.5 || r.left < -0.5 || e.scrollWidth > e.clientWidth + 1 && e.clientWidth > 0); })
.reverse().slice(0, 5).map(e => e.tagName + '.' + e.className + ': ' + e.textContent.slice(0, 60)))`

// Outside lists what reaches beyond the page's width or its own element; none where all can be seen.
func (p *Page) Outside() (found []string) {
	p.t.Helper()
	var answer struct {
		Result struct{ Value string }
	}
	p.call("Runtime.evaluate", map[string]any{"expression": outside}, &answer)
	if err := json.Unmarshal([]byte(answer.Result.Value), &found); err != nil {
		p.t.Fatal(err)
	}
	return found
}

// Picture is a PNG of the whole page.
func (p *Page) Picture() []byte {
	p.t.Helper()
	return p.data("Page.captureScreenshot", map[string]any{"format": "png", "captureBeyondViewport": true})
}

// PDF is the page as it is printed on A4.
func (p *Page) PDF() []byte {
	p.t.Helper()
	return p.data("Page.printToPDF", map[string]any{"preferCSSPageSize": true})
}

func (p *Page) data(method string, params any) []byte {
	p.t.Helper()
	var answer struct{ Data string }
	p.call(method, params, &answer)
	data, err := base64.StdEncoding.DecodeString(answer.Data)
	if err != nil {
		p.t.Fatal(err)
	}
	return data
}

// Fits checks that nothing of a page reaches beyond its width in windows of a telephone, a tablet and a desk, nor on paper, and
// that it can be printed. Where $PICTURES names a directory, what is seen is kept there.
func Fits(t *testing.T, name string, html []byte) {
	t.Helper()
	file := t.TempDir() + "/page.html"
	if err := os.WriteFile(file, html, 0o600); err != nil {
		t.Fatal(err)
	}
	p := Open(t, file)
	keep := func(suffix string, data []byte) {
		if dir := os.Getenv("PICTURES"); dir != "" {
			if err := os.WriteFile(dir+"/"+name+suffix, data, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, width := range []int{360, 800, 1400} {
		p.Width(width)
		for _, found := range p.Outside() {
			t.Errorf("%s at %d pixels: beyond the width: %s", name, width, found)
		}
		if os.Getenv("PICTURES") != "" {
			keep(fmt.Sprintf("-%d.png", width), p.Picture())
		}
	}
	pdf := p.PDF()
	if len(pdf) < 1000 || string(pdf[:5]) != "%PDF-" {
		t.Errorf("%s: no PDF: %d bytes", name, len(pdf))
	}
	keep(".pdf", pdf)
	// On paper a page of A4 has 688 pixels between its margins.
	p.call("Emulation.setEmulatedMedia", map[string]any{"media": "print"}, nil)
	p.Width(688)
	for _, found := range p.Outside() {
		t.Errorf("%s on paper: beyond the width: %s", name, found)
	}
}
