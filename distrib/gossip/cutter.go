package gossip

import (
	"errors"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
)

// cutter is a transport on which links can be cut. Who sent a packet is known by its address, which is where
// that node listens; a connection that another opens does not say who it is, so where only From is cut, its
// occasional exchange of states still passes. Probes go by packets.
type cutter struct {
	*memberlist.NetTransport
	faults  Faults
	packets chan *memberlist.Packet
	done    chan struct{}
	filter  sync.WaitGroup

	mu    sync.Mutex // guards names
	names map[string]string
}

var _ memberlist.NodeAwareTransport = (*cutter)(nil)

// newCutter returns inner itself where no link can be cut.
func newCutter(inner *memberlist.NetTransport, faults Faults) memberlist.Transport {
	if faults == nil {
		return inner
	}
	c := &cutter{NetTransport: inner, faults: faults, packets: make(chan *memberlist.Packet), done: make(chan struct{}), names: map[string]string{}}
	c.filter.Go(c.receive)
	return c
}

// receive passes on what comes over links that are not cut.
func (c *cutter) receive() {
	for {
		select {
		case p := <-c.NetTransport.PacketCh():
			if c.faults.From(c.nameOf(p.From.String(), "")) {
				continue
			}
			select {
			case c.packets <- p:
			case <-c.done:
				return
			}
		case <-c.done:
			return
		}
	}
}

// PacketCh gives memberlist what was received.
func (c *cutter) PacketCh() <-chan *memberlist.Packet { return c.packets }

// Shutdown ends the transport.
func (c *cutter) Shutdown() error {
	err := c.NetTransport.Shutdown()
	close(c.done)
	c.filter.Wait()
	return err
}

// nameOf remembers the name of an address where it is given, and returns it.
func (c *cutter) nameOf(addr, name string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if name != "" {
		c.names[addr] = name
	}
	return c.names[addr]
}

func (c *cutter) WriteToAddress(b []byte, to memberlist.Address) (time.Time, error) {
	if c.faults.To(c.nameOf(to.Addr, to.Name)) {
		return time.Now(), nil // lost on its way
	}
	return c.NetTransport.WriteToAddress(b, to)
}

func (c *cutter) WriteTo(b []byte, addr string) (time.Time, error) {
	return c.WriteToAddress(b, memberlist.Address{Addr: addr})
}

func (c *cutter) DialAddressTimeout(to memberlist.Address, timeout time.Duration) (net.Conn, error) {
	if name := c.nameOf(to.Addr, to.Name); c.faults.To(name) || c.faults.From(name) {
		return nil, errors.New("the link is cut")
	}
	return c.NetTransport.DialAddressTimeout(to, timeout)
}

func (c *cutter) DialTimeout(addr string, timeout time.Duration) (net.Conn, error) {
	return c.DialAddressTimeout(memberlist.Address{Addr: addr}, timeout)
}
