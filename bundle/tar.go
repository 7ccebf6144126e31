package bundle

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
)

const (
	tarBlock  = 512
	tarEnd    = 2 * tarBlock
	ustarMax  = 1<<33 - 1 // eleven octal digits
	nameLimit = 100
	// maxContent bounds the size of one entry (4 EiB) so that sums of a few sizes never overflow.
	maxContent = 1 << 62
	maxGap     = tarBlock - 1 + 3*tarBlock
)

// tarHeader is what differs between the headers of two entries: everything
// else is fixed, so that a header can be computed again and compared.
type tarHeader struct {
	name  string
	size  int64
	mtime int64 // seconds since 1970, within 0 and ustarMax
}

// padding is the zero bytes a tar archive has behind an entry of size bytes.
func padding(size int64) int {
	return int(-size & (tarBlock - 1))
}

// gapSize is the length of gap without making it; name does not matter.
func gapSize(prev, size int64) int64 {
	if size > ustarMax {
		return int64(padding(prev)) + 3*tarBlock
	}
	return int64(padding(prev)) + tarBlock
}

// gap is what lies in the archive between the content of an entry of prev bytes and the content of the entry that h heads.
func gap(prev int64, h tarHeader) []byte {
	out := make([]byte, padding(prev), gapSize(prev, h.size))
	if h.size > ustarMax {
		record := paxSize(h.size)
		out = append(out, ustar("PaxHeaders/"+baseName(h.name), int64(len(record)), h.mtime, 'x')...)
		out = append(out, record...)
		out = append(out, make([]byte, padding(int64(len(record))))...)
		return append(out, ustar(h.name, 0, h.mtime, '0')...)
	}
	return append(out, ustar(h.name, h.size, h.mtime, '0')...)
}

// endGap is what lies behind the last entry.
func endGap(prev int64) []byte {
	return make([]byte, padding(prev)+tarEnd)
}

func baseName(name string) string {
	return name[bytes.LastIndexByte([]byte(name), '/')+1:]
}

// paxSize is a PAX record; its own length, digits included, stands in front.
func paxSize(size int64) []byte {
	value := " size=" + strconv.FormatInt(size, 10) + "\n"
	n := len(value)
	for n != len(value)+len(strconv.Itoa(n)) {
		n = len(value) + len(strconv.Itoa(n))
	}
	return []byte(strconv.Itoa(n) + value)
}

func ustar(name string, size, mtime int64, kind byte) []byte {
	b := make([]byte, tarBlock)
	copy(b[0:], name)
	copy(b[100:], "0000644\x00")
	copy(b[108:], "0000000\x00")
	copy(b[116:], "0000000\x00")
	copy(b[124:], fmt.Sprintf("%011o\x00", size))
	copy(b[136:], fmt.Sprintf("%011o\x00", mtime))
	copy(b[148:], "        ") // the sum is taken with spaces in its own field
	b[156] = kind
	copy(b[257:], "ustar\x0000")
	copy(b[329:], "0000000\x00")
	copy(b[337:], "0000000\x00")
	sum := 0
	for _, c := range b {
		sum += int(c)
	}
	copy(b[148:], fmt.Sprintf("%06o\x00 ", sum))
	return b
}

// parseGap reads a gap back: the header in it, or end for the last one. A gap
// that is not exactly what this package writes is an error.
func parseGap(prev int64, content []byte) (h tarHeader, end bool, err error) {
	pad := padding(prev)
	if bytes.Equal(content, endGap(prev)) {
		return tarHeader{}, true, nil
	}
	if len(content) != pad+tarBlock && len(content) != pad+3*tarBlock {
		return tarHeader{}, false, fmt.Errorf("a tar header of %d bytes", len(content))
	}
	main := content[len(content)-tarBlock:]
	name, _, _ := bytes.Cut(main[:nameLimit], []byte{0})
	h.name = string(name)
	if h.mtime, err = strconv.ParseInt(string(main[136:147]), 8, 64); err != nil {
		return tarHeader{}, false, errors.New("a tar header without a time")
	}
	size, base := main[124:135], 8
	if len(content) == pad+3*tarBlock {
		record, _, _ := bytes.Cut(content[pad+tarBlock:pad+2*tarBlock], []byte{'\n'})
		_, size, _ = bytes.Cut(record, []byte{'='})
		base = 10
	}
	if h.size, err = strconv.ParseInt(string(size), base, 64); err != nil || h.size < 0 || h.size > maxContent {
		return tarHeader{}, false, errors.New("a tar header without a size")
	}
	if h.mtime < 0 || !bytes.Equal(content, gap(prev, h)) {
		return tarHeader{}, false, errors.New("a tar header that was not written by sealbuild")
	}
	return h, false, nil
}
