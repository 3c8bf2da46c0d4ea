package telemetry

import (
	"context"
	"log/slog"

	"go.opentelemetry.io/otel/attribute"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
)

// logExporter writes what was measured since its last line: a line "measured"
// for every series that moved, so that a query sums and groups them.
type logExporter struct {
	log *slog.Logger
}

func (*logExporter) Temporality(kind sdkmetric.InstrumentKind) metricdata.Temporality {
	return sdkmetric.DeltaTemporalitySelector(kind)
}

func (*logExporter) Aggregation(kind sdkmetric.InstrumentKind) sdkmetric.Aggregation {
	return sdkmetric.DefaultAggregationSelector(kind)
}

func (*logExporter) ForceFlush(context.Context) error { return nil }
func (*logExporter) Shutdown(context.Context) error   { return nil }

func (x *logExporter) Export(ctx context.Context, m *metricdata.ResourceMetrics) error {
	for _, s := range m.ScopeMetrics {
		for _, one := range s.Metrics {
			switch data := one.Data.(type) {
			case metricdata.Sum[int64]:
				for _, p := range data.DataPoints {
					if p.Value != 0 {
						x.write(ctx, one.Name, p.Attributes, slog.Int64("count", p.Value))
					}
				}
			case metricdata.Gauge[float64]:
				for _, p := range data.DataPoints {
					x.write(ctx, one.Name, p.Attributes, slog.Float64("value", p.Value))
				}
			case metricdata.Histogram[float64]:
				for _, p := range data.DataPoints {
					if p.Count == 0 {
						continue
					}
					longest, _ := p.Max.Value()
					x.write(ctx, one.Name, p.Attributes, slog.Uint64("count", p.Count), slog.Float64("sum", p.Sum), slog.Float64("max", longest))
				}
			}
		}
	}
	return nil
}

func (x *logExporter) write(ctx context.Context, name string, set attribute.Set, values ...slog.Attr) {
	attributes := append([]slog.Attr{slog.String("metric", name)}, values...)
	for _, kv := range set.ToSlice() {
		attributes = append(attributes, slog.Any(string(kv.Key), kv.Value.AsInterface()))
	}
	x.log.LogAttrs(ctx, slog.LevelInfo, "measured", attributes...)
}
