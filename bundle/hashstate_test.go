package bundle

import (
	"bytes"
	"crypto/sha256"
	"testing"
)

// The states are those of FIPS 180-4, so that a reader in another language,
// with a hash that shows its state, finds the same.
func TestHashStatesAreThoseOfTheStandard(t *testing.T) {
	begin, err := stateOf(sha256.New())
	if err != nil {
		t.Fatal(err)
	}
	if want := parseSum(t, "6a09e667bb67ae853c6ef372a54ff53a510e527f9b05688c1f83d9ab5be0cd19"); begin != want {
		t.Errorf("the initial state is %x", begin)
	}
	// The digest of one padded block is the state behind it: FIPS 180-4's "abc".
	block := append([]byte("abc\x80"), make([]byte, 60)...)
	block[63] = 24
	h := sha256.New()
	h.Write(block)
	after, err := stateOf(h)
	if err != nil {
		t.Fatal(err)
	}
	if want := parseSum(t, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"); after != want {
		t.Errorf("the state behind a block is %x", after)
	}
}

func TestAHashGoesOnFromAState(t *testing.T) {
	data := noise(3, 1000)
	h := sha256.New()
	h.Write(data[:640])
	s, err := stateOf(h)
	if err != nil {
		t.Fatal(err)
	}
	resumed, err := resumeHash(s, 640)
	if err != nil {
		t.Fatal(err)
	}
	resumed.Write(data[640:])
	if want := sha256.Sum256(data); !bytes.Equal(resumed.Sum(nil), want[:]) {
		t.Error("the digest differs")
	}
}

func parseSum(t *testing.T, text string) (s hashSum) {
	t.Helper()
	if err := s.UnmarshalText([]byte(text)); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestStatesCutABlobIntoPartsThatAreCheckedAlone(t *testing.T) {
	for _, size := range []int{0, 1, unitSize - 1, unitSize, unitSize + 1, 3*unitSize + blockSize + 7} {
		blob := testBlob{noise(1, size), false}
		file, _ := makeBundle(t, WriterOptions{}, []testBlob{blob}, nil)
		r := openBytes(t, file)
		e := &r.index.Entries[1]
		if got := int64(len(e.States)); got != e.units()-1 {
			t.Fatalf("%d bytes: %d states", size, got)
		}
		var total int64
		for i := range e.units() {
			at := e.storedRange(i)
			if at.Offset != total {
				t.Errorf("%d bytes: unit %d begins at %d, not %d", size, i, at.Offset, total)
			}
			total += at.Length
			off := r.start + e.Offset + at.Offset + at.Length - 1
			file[off] ^= 1
			if err := r.checkStored(1, i, make([]byte, chunkSize), nil); err == nil {
				t.Errorf("%d bytes: unit %d passes with its last byte wrong", size, i)
			}
			file[off] ^= 1
			if err := r.checkStored(1, i, make([]byte, chunkSize), nil); err != nil {
				t.Errorf("%d bytes: unit %d: %v", size, i, err)
			}
		}
		if total != e.length() {
			t.Errorf("%d bytes: units have %d of %d", size, total, e.length())
		}
	}
}

func TestRangedReadsGiveOutNothingWrong(t *testing.T) {
	for _, compress := range []bool{false, true} {
		data := prose(5, 3*unitSize+100)
		blob := testBlob{data, compress}
		file, _ := makeBundle(t, WriterOptions{}, []testBlob{blob}, nil)
		r := openBytes(t, file)
		info, _ := r.Stat(blob.digest())
		second := info.Offset + rawOffset(unitSize+5)
		if compress {
			second = info.Offset + r.index.Entries[1].Frames[0] + 100
		}
		file[second] ^= 4
		at, err := r.BlobAt(blob.digest())
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range []struct {
			off, n int
			ok     bool
		}{{0, 10, true}, {unitSize - 5, 5, true}, {unitSize - 5, 10, false}, {2*unitSize - 3, 3, false}, {2*unitSize - 3, 100, false}, {2 * unitSize, unitSize + 100, true}, {2*unitSize + 9, 4, true}} {
			p := make([]byte, c.n)
			n, err := at.ReadAt(p, int64(c.off))
			if (err == nil) != c.ok || c.ok && !bytes.Equal(p, data[c.off:c.off+c.n]) {
				t.Errorf("compressed %v: ReadAt(%d bytes at %d) = %d, %v", compress, c.n, c.off, n, err)
			}
			if !bytes.Equal(p[:n], data[c.off:c.off+n]) {
				t.Errorf("compressed %v: ReadAt(%d bytes at %d) gives out damaged bytes", compress, c.n, c.off)
			}
		}
	}
}
