package meta

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// zapLogger passes what etcd logs at warn and above to a slog, each message a few times a minute: etcd says the same of each
// try while another member is away. What would end the process ends only the
// goroutine: a member that cannot write its log is lost, the node's data is not.
func zapLogger(to *slog.Logger, quiet *atomic.Bool) *zap.Logger {
	return zap.New(zapcore.NewSamplerWithOptions(slogCore{to, quiet}, time.Minute, sameAMinute, 0), zap.WithFatalHook(zapcore.WriteThenGoexit))
}

// sameAMinute is how often the same message is passed on in a minute.
const sameAMinute = 3

// slogCore passes nothing on while quiet is set: a member that is stopped calls each of its ends an error.
type slogCore struct {
	to    *slog.Logger
	quiet *atomic.Bool
}

func (c slogCore) Enabled(level zapcore.Level) bool {
	return level >= zapcore.WarnLevel && !c.quiet.Load()
}

func (c slogCore) With(fields []zapcore.Field) zapcore.Core {
	return slogCore{c.to.With(attributes(fields)...), c.quiet}
}

func (c slogCore) Check(entry zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(entry.Level) {
		return checked.AddCore(entry, c)
	}
	return checked
}

func (c slogCore) Write(entry zapcore.Entry, fields []zapcore.Field) error {
	level := slog.LevelWarn
	if entry.Level > zapcore.WarnLevel {
		level = slog.LevelError
	}
	c.to.Log(context.Background(), level, "etcd: "+entry.Message, attributes(fields)...)
	return nil
}

func (c slogCore) Sync() error { return nil }

func attributes(fields []zapcore.Field) (attrs []any) {
	enc := zapcore.NewMapObjectEncoder()
	for _, f := range fields {
		f.AddTo(enc)
	}
	for k, v := range enc.Fields {
		attrs = append(attrs, slog.Any(k, v))
	}
	return attrs
}
