package agent

import "context"

// Listening is a call that keeps ports of a host open for a short time.
type Listening struct{ s *session }

// Listen opens TCP ports on the host and says a word to whoever connects, until Close, the end of ctx or two minutes.
// Ports that another program has are left alone; Close names them.
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

// Close closes the ports, and gives those that another program had.
func (l *Listening) Close() (busy []int, err error) {
	l.s.in.Close()
	var res ListenResult
	err = l.s.close(l.s.result(&res))
	return res.Busy, err
}

// Reach dials endpoints from the host, each for three seconds at most, and gives those that did not answer with the word; with no
// word, those that took no connection.
func (a *Agent) Reach(ctx context.Context, endpoints []Endpoint, word string) ([]Unreached, error) {
	res, err := ask[ReachResult](ctx, a, VerbReach, ReachRequest{endpoints, word})
	return res.Unreached, err
}
