package bundle

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/sealbuild/sealbuild/test/detector"
)

func TestEveryFlippedByteIsNoticed(t *testing.T) {
	small, _ := smallBundle(t, "\x7fELF is not needed here\n")
	rich, _ := richBundle(t)
	for _, file := range [][]byte{small, rich} {
		mustVerify(t, openBytes(t, file))
		flipEveryByte(t, file)
	}
}

func flipEveryByte(t *testing.T, file []byte) {
	step := 1
	if testing.Short() || detector.On { // every byte is flipped without the detector (make unit)
		step = 41
	}
	for i := 0; i < len(file); i += step {
		for _, mask := range []byte{1 << (i % 8), 0xFF} {
			bad := bytes.Clone(file)
			bad[i] ^= mask
			r, err := Open(bytes.NewReader(bad), int64(len(bad)))
			if err != nil {
				continue
			}
			damage, err := r.Verify(context.Background(), nil)
			if err != nil {
				t.Fatal(err)
			}
			if len(damage) == 0 {
				t.Fatalf("byte %d ^ %#x passes Open and Verify", i, mask)
			}
			hit := false
			for _, d := range damage {
				hit = hit || d.Offset <= int64(i) && int64(i) < d.Offset+d.Length
			}
			if !hit {
				t.Errorf("byte %d ^ %#x is not within %v", i, mask, damage)
			}
		}
	}
}

func TestEveryTruncationIsTold(t *testing.T) {
	for _, make := range []func() ([]byte, Summary){
		func() ([]byte, Summary) { return smallBundle(t, "") },
		func() ([]byte, Summary) { return smallBundle(t, "stub\n") },
		func() ([]byte, Summary) { return richBundle(t) },
	} {
		file, s := make()
		step := 1
		if detector.On { // at every byte without the detector (make unit)
			step = 17
		}
		for n := 0; n < len(file); n += step {
			_, err := Open(bytes.NewReader(file[:n]), int64(n))
			cut := new(TruncatedError)
			switch {
			case errors.As(err, &cut):
				if cut.Size != int64(n) || cut.Start > int64(n) || cut.End != 0 && cut.End <= int64(n) {
					t.Errorf("cut at %d: %+v", n, cut)
				}
			case !errors.Is(err, ErrNotBundle):
				t.Errorf("cut at %d: %v", n, err)
			case int64(n) >= s.PayloadOffset+24:
				t.Errorf("cut at %d, behind the magic at %d: %v", n, s.PayloadOffset, err)
			}
		}
	}
}

func TestTruncationNamesTheEntryThatIsCut(t *testing.T) {
	big := testBlob{noise(1, 1<<20), false}
	packed := testBlob{prose(2, 9<<20), true}
	file, _ := makeBundle(t, WriterOptions{Stub: bytes.NewReader(noise(3, 999))}, []testBlob{big, packed}, nil)
	r := openBytes(t, file)
	a, _ := r.Stat(big.digest())
	b, _ := r.Stat(packed.digest())
	pathA, pathB := blobPath(big.digest()), blobPath(packed.digest())
	end := a.Offset + a.StoredSize
	for _, c := range []struct {
		at   int64
		want TruncatedError
	}{
		{a.Offset + 500_000, TruncatedError{pathA, a.Offset, end, 0}},
		{end - 1, TruncatedError{pathA, a.Offset, end, 0}},
		{end, TruncatedError{headerOf("the entry behind " + pathA), end, 0, 0}},
		{end + 600, TruncatedError{headerOf("the entry behind " + pathA), end, end + 529, 0}},
		{b.Offset + b.StoredSize/2, TruncatedError{pathB, b.Offset, 0, 0}},
		{int64(len(file)) - 10, TruncatedError{PartTrailer, int64(len(file)) - trailerSize, int64(len(file)), 0}},
		{int64(len(file)) - trailerSize - 1, TruncatedError{PartIndex, r.start + r.trailer.indexStart, int64(len(file)) - trailerSize, 0}},
	} {
		if c.at == end+600 { // behind the gap frame: the packed entry has begun
			c.want = TruncatedError{pathB, b.Offset, 0, 0}
		}
		c.want.Size = c.at
		_, err := Open(bytes.NewReader(file[:c.at]), c.at)
		cut := new(TruncatedError)
		if !errors.As(err, &cut) {
			t.Errorf("cut at %d: %v", c.at, err)
			continue
		}
		if cut.Entry == pathB {
			cut.End = 0 // known only when the cut frame is the first
		}
		if diff := cmp.Diff(c.want, *cut); diff != "" {
			t.Errorf("cut at %d (-want +got):\n%s", c.at, diff)
		}
	}
}

func TestFileCutBehindABundleWithinIsTruncated(t *testing.T) {
	inner, _ := smallBundle(t, "inner stub\n")
	blob := testBlob{append(noise(1, 100), append(inner, noise(2, 9000)...)...), false}
	file, _ := makeBundle(t, WriterOptions{Stub: bytes.NewReader(inner[:50])}, []testBlob{blob}, nil)
	at := bytes.LastIndex(file, inner) + len(inner)
	_, err := Open(bytes.NewReader(file[:at]), int64(at))
	if cut := new(TruncatedError); !errors.As(err, &cut) || cut.Entry != blobPath(blob.digest()) {
		t.Errorf("cut at the end of an inner bundle: %v", err)
	}
}

func TestEndsOfAFileAreTold(t *testing.T) {
	file, s := smallBundle(t, "stub\n")
	n := int64(len(file))
	zeros := bytes.Clone(file)
	clear(zeros[len(file)/2:])
	for name, c := range map[string]struct {
		file []byte
		want CorruptError
	}{
		"trailing garbage": {append(bytes.Clone(file), "garbage"...), CorruptError{PartBehind, n, 7, nil}},
		"bytes in front":   {append([]byte("x"), file...), CorruptError{PartHead, s.PayloadOffset + 1, headSize, nil}},
	} {
		_, err := Open(bytes.NewReader(c.file), int64(len(c.file)))
		got := new(CorruptError)
		if !errors.As(err, &got) {
			t.Errorf("%s: %v", name, err)
			continue
		}
		got.Err = nil
		if diff := cmp.Diff(c.want, *got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	// What a broken copy into a preallocated file leaves.
	if _, err := Open(bytes.NewReader(zeros), n); !errors.As(err, new(*CorruptError)) {
		t.Errorf("zeros in the second half: %v", err)
	}
	for _, foreign := range [][]byte{nil, []byte("x"), noise(1, 5000), []byte(magic), make([]byte, 3<<20)} {
		if _, err := Open(bytes.NewReader(foreign), int64(len(foreign))); !errors.Is(err, ErrNotBundle) {
			t.Errorf("foreign file of %d bytes: %v", len(foreign), err)
		}
	}
}

func TestVerifyListsEveryDamagedEntry(t *testing.T) {
	blobs := []testBlob{{noise(1, 300<<10), false}, {prose(2, 9<<20), true}, {noise(3, 900), false}, {noise(4, 2<<20), false}}
	file, _ := makeBundle(t, WriterOptions{Stub: bytes.NewReader(noise(9, 5000))}, blobs, nil)
	r := openBytes(t, file)
	infos := r.Blobs()
	second := infos[1].Offset + r.index.Entries[2].Frames[0] // frame 2 of 3
	file[77] ^= 1
	file[infos[0].Offset+200_000] ^= 1
	file[second+1000] ^= 1
	file[infos[3].Offset-100] ^= 1                // its tar header
	file[infos[3].Offset+rawOffset(1<<20)-2] ^= 8 // a block header
	var last int64
	damage, err := openBytes(t, file).Verify(context.Background(), func(done, total int64) {
		if done < last || total != int64(len(file)) {
			t.Errorf("progress went from %d to %d of %d", last, done, total)
		}
		last = done
	})
	if err != nil {
		t.Fatal(err)
	}
	if last != int64(len(file)) {
		t.Errorf("progress ended at %d of %d", last, len(file))
	}
	for i := range damage {
		if damage[i].Reason == "" {
			t.Errorf("damage without a reason: %v", damage[i])
		}
		damage[i].Reason = ""
	}
	want := []Damage{
		{PartStub, 0, 5000, ""},
		{blobPath(infos[0].Digest), infos[0].Offset, infos[0].StoredSize, ""},
		{blobPath(infos[1].Digest), second, r.index.Entries[2].Frames[1], ""},
		{headerOf(blobPath(infos[3].Digest)), infos[3].Offset - 100, 1, ""},
		{blobPath(infos[3].Digest), infos[3].Offset + rawOffset(1<<20) - blockHeaderSize, blockHeaderSize, ""},
	}
	if diff := cmp.Diff(want, damage); diff != "" {
		t.Errorf("damage (-want +got):\n%s", diff)
	}
}

func TestDamagedBlobNeverReadsToEOF(t *testing.T) {
	blobs := []testBlob{{noise(1, 300<<10), false}, {prose(2, 5<<20), true}}
	file, _ := makeBundle(t, WriterOptions{}, blobs, nil)
	for _, info := range openBytes(t, file).Blobs() {
		for _, at := range []int64{0, 5, 20, info.StoredSize / 2, info.StoredSize - 1} {
			bad := bytes.Clone(file)
			bad[info.Offset+at] ^= 0x10
			r := openBytes(t, bad)
			rc, err := r.OpenBlob(info.Digest)
			if err != nil {
				t.Fatal(err)
			}
			_, err = io.Copy(io.Discard, rc)
			if !errors.As(err, new(*CorruptError)) {
				t.Errorf("byte %d flipped: io.Copy = %v", at, err)
			}
			if _, again := rc.Read(make([]byte, 1)); fmt.Sprint(again) != fmt.Sprint(err) {
				t.Errorf("the error does not stick: %v", again)
			}
			if _, err := r.ReadBlob(info.Digest, 1<<30); !errors.As(err, new(*CorruptError)) {
				t.Errorf("byte %d flipped: ReadBlob = %v", at, err)
			}
		}
	}
}

// Content that is compared elsewhere comes as it is; what cannot be decoded does not.
func TestUnverifiedReadingGivesTheContentAsItIs(t *testing.T) {
	data := noise(1, 300<<10)
	file, _ := makeBundle(t, WriterOptions{}, []testBlob{{data, false}}, nil)
	info := openBytes(t, file).Blobs()[0]
	read := func(file []byte) ([]byte, error) {
		rc, err := openBytes(t, file).OpenUnverified(info.Digest)
		if err != nil {
			t.Fatal(err)
		}
		defer rc.Close()
		return io.ReadAll(rc)
	}
	if got, err := read(file); err != nil || !bytes.Equal(got, data) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	bad := bytes.Clone(file)
	bad[info.Offset+info.StoredSize-1] ^= 1
	data = bytes.Clone(data)
	data[len(data)-1] ^= 1
	if got, err := read(bad); err != nil || !bytes.Equal(got, data) {
		t.Errorf("one bit flipped: %d bytes, %v", len(got), err)
	}
	bad[info.Offset] ^= 0x10
	if _, err := read(bad); !errors.As(err, new(*CorruptError)) {
		t.Errorf("a frame's head flipped: %v", err)
	}
}

func TestVerifyStopsWhenCancelled(t *testing.T) {
	file, _ := smallBundle(t, "")
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := openBytes(t, file).Verify(ctx, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("Verify = %v", err)
	}
}
