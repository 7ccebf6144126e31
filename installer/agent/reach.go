package agent

import "context"

// Listening are ports that a host has open for a short time.
type Listening struct{ s *session }

// Listen opens TCP ports on the host and says a word to whoever connects, until Close, the end of ctx or two minutes.
// Ports that somebody has already are left alone.
func (a *Agent) Listen(ctx context.Context, ip string, ports []int, word string) (*Listening, error) {
	s, err := a.open(ctx, VerbListen, ListenRequest{ip, ports, word}, nil)
	if err != nil {
		return nil, err
	}
	if _, err := s.wants(); err != nil {
		return nil, s.close(err)
	}
	return &Listening{s}, nil
}

// Close gives the ports back, and tells those that were never ours.
func (l *Listening) Close() (busy []int, err error) {
	l.s.in.Close()
	var res ListenResult
	err = l.s.close(l.s.result(&res))
	return res.Busy, err
}

// Reach dials endpoints from the host, each for three seconds at most, and gives those that did not say the word.
func (a *Agent) Reach(ctx context.Context, endpoints []Endpoint, word string) ([]Unreached, error) {
	var res ReachResult
	err := a.call(ctx, VerbReach, ReachRequest{endpoints, word}, &res, nil)
	return res.Unreached, err
}
