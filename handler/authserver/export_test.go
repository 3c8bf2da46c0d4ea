package authserver

import "time"

// ShortenAnswerWaits lets a test not wait for an answer that never comes.
func (s *Server) ShortenAnswerWaits() {
	s.answerWaits = []time.Duration{time.Millisecond, time.Millisecond}
}
