package bundle

import (
	"crypto/sha256"
	"encoding"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
)

// hashSum is a SHA-256 digest, or the state of the hash between two of its blocks:
// the eight words H of FIPS 180-4, big-endian. In JSON it is 64 hex digits.
type hashSum [sha256.Size]byte

func (s hashSum) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, s[:]), nil }

func (s *hashSum) UnmarshalText(b []byte) error {
	if len(b) != 2*len(s) {
		return fmt.Errorf("%d hex digits where a hash has %d", len(b), 2*len(s))
	}
	_, err := hex.Decode(s[:], b)
	return err
}

// How crypto/sha256 writes its state: a magic, the eight words, the block that is not full yet, the bytes hashed.
// TestHashStatesAreThoseOfTheStandard fails should that ever change.
const (
	stateMagic  = "sha\x03"
	stateLength = len(stateMagic) + sha256.Size + sha256.BlockSize + 8
)

var errHashState = errors.New("crypto/sha256 does not tell its state as it used to")

// stateOf returns the state of h, which has hashed whole blocks only.
func stateOf(h hash.Hash) (s hashSum, err error) {
	m, ok := h.(encoding.BinaryMarshaler)
	if !ok {
		return s, errHashState
	}
	b, err := m.MarshalBinary()
	if err != nil || len(b) != stateLength || string(b[:len(stateMagic)]) != stateMagic {
		return s, errors.Join(errHashState, err)
	}
	copy(s[:], b[len(stateMagic):])
	return s, nil
}

// resumeHash returns a hash that goes on from a state after n bytes.
func resumeHash(s hashSum, n int64) (hash.Hash, error) {
	b := make([]byte, 0, stateLength)
	b = append(b, stateMagic...)
	b = append(b, s[:]...)
	b = append(b, make([]byte, sha256.BlockSize)...)
	b = binary.BigEndian.AppendUint64(b, uint64(n))
	h := sha256.New()
	u, ok := h.(encoding.BinaryUnmarshaler)
	if !ok {
		return nil, errHashState
	}
	if err := u.UnmarshalBinary(b); err != nil {
		return nil, errors.Join(errHashState, err)
	}
	return h, nil
}
