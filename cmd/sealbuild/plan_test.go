package main

import (
	"fmt"
	"os"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/sealbuild/sealbuild/bundle/assemble/scan"
)

func TestAPlanIsATableThatFitsTheTerminal(t *testing.T) {
	size := int64(27 << 20)
	p := &planned{
		Plan: &scan.Plan{Result: &scan.Result{Archives: []scan.Archive{{Path: "images/a.tar", Place: scan.Place{File: "images/a.tar"}}}}},
		Images: []plannedImage{
			{Found: scan.Found{
				Ref: "registry.k8s.io/kube-controller-manager:v1.36.3", Certainty: scan.Certain, Place: scan.Place{File: "images/shim/DefaultImageList", Line: 3},
				Reason: "image list", Also: []scan.Place{{}, {}},
			}, Size: &size},
			{Found: scan.Found{
				Ref: "example.com/a:1", Certainty: scan.Suspected, Place: scan.Place{File: "manifests/a.yaml", Line: 12}, Reason: "variable SIDE of container web",
			}, failed: true},
		},
		Size: &size,
	}
	wide := `IMAGE                                            CERTAINTY  SIZE           ASKED FOR BY                       BECAUSE
registry.k8s.io/kube-controller-manager:v1.36.3  certain    27 MiB         images/shim/DefaultImageList:3 +2  image list
example.com/a:1                                  suspected  cannot be had  manifests/a.yaml:12                variable SIDE of container web
(as it says itself)                              archive    here           images/a.tar                       images/a.tar

`
	narrow := `IMAGE                                            CERTAINTY  SIZE
registry.k8s.io/kube-controller-manager:v1.36.3  certain    27 MiB
  images/shim/DefaultImageList:3 +2
  image list
example.com/a:1                                  suspected  cannot be had
  manifests/a.yaml:12
  variable SIDE of container web
(as it says itself)                              archive    here
  images/a.tar
  images/a.tar

`
	for columns, want := range map[int]string{0: wide, 80: narrow, 200: wide} {
		if diff := cmp.Diff(want, p.table(columns)); diff != "" {
			t.Errorf("%d columns (-want +got):\n%s", columns, diff)
		}
	}
	if diff := cmp.Diff("images: 2, 1 of them certain; archives: 1; 27 MiB to download, what images share counted once", p.sum()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestATerminalIsAsWideAsItSaysAndAPipeHasNoWidth(t *testing.T) {
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Skip("no pseudo-terminals here: ", err)
	}
	defer unix.Close(fd)
	number, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)
	}
	if err == nil {
		err = unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: 80})
	}
	if err != nil {
		t.Fatal(err)
	}
	terminal, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer terminal.Close()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	if got := [...]int{columnsOf(terminal), columnsOf(w)}; got != [...]int{80, 0} {
		t.Errorf("terminal and pipe: %v", got)
	}
}
