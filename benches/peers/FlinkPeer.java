import java.io.RandomAccessFile;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.util.concurrent.atomic.AtomicLong;
import org.apache.flink.api.common.eventtime.WatermarkStrategy;
import org.apache.flink.api.common.functions.OpenContext;
import org.apache.flink.api.common.state.ValueState;
import org.apache.flink.api.common.state.ValueStateDescriptor;
import org.apache.flink.api.common.typeinfo.TypeHint;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.api.java.tuple.Tuple3;
import org.apache.flink.connector.datagen.source.DataGeneratorSource;
import org.apache.flink.connector.datagen.source.GeneratorFunction;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.streaming.api.functions.KeyedProcessFunction;
import org.apache.flink.streaming.api.functions.sink.v2.DiscardingSink;
import org.apache.flink.util.Collector;

/** The job of the benchmark `peers` on Apache Flink: FlinkPeer FILE SAMPLES WARM_UP THRESHOLD. */
public final class FlinkPeer {
    /** Bytes of a sample: series (u32), time in microseconds (i64), value (f64), little-endian. */
    private static final int SAMPLE = 20;

    private static final AtomicLong half = new AtomicLong();
    private static final AtomicLong end = new AtomicLong();
    private static final AtomicLong alerts = new AtomicLong();

    /** Reads the file's samples where they lie. */
    public static final class Read implements GeneratorFunction<Long, Tuple3<Integer, Long, Double>> {
        private final String file;
        private transient ByteBuffer bytes;

        Read(String file) {
            this.file = file;
        }

        @Override
        public Tuple3<Integer, Long, Double> map(Long index) throws Exception {
            if (bytes == null) {
                try (RandomAccessFile open = new RandomAccessFile(file, "r")) {
                    bytes = open.getChannel().map(FileChannel.MapMode.READ_ONLY, 0, open.length());
                    bytes.order(ByteOrder.LITTLE_ENDIAN);
                }
            }
            int at = (int) (index * SAMPLE);
            return Tuple3.of(bytes.getInt(at), bytes.getLong(at + 4), bytes.getDouble(at + 12));
        }
    }

    /** What is known of a series. */
    public static final class Known {
        public long count;
        public double mean;
        public double squares;
    }

    /** Welford's running mean and variance; what lies too far from them is an alert. */
    public static final class Judge
            extends KeyedProcessFunction<Integer, Tuple3<Integer, Long, Double>, Tuple3<Integer, Long, Double>> {
        private final long samples;
        private final long warmUp;
        private final double threshold;
        private long seen;
        private transient ValueState<Known> state;

        Judge(long samples, long warmUp, double threshold) {
            this.samples = samples;
            this.warmUp = warmUp;
            this.threshold = threshold;
        }

        @Override
        public void open(OpenContext context) {
            state = getRuntimeContext().getState(new ValueStateDescriptor<>("known", Types.POJO(Known.class)));
        }

        @Override
        public void processElement(
                Tuple3<Integer, Long, Double> sample, Context context, Collector<Tuple3<Integer, Long, Double>> out)
                throws Exception {
            Known known = state.value();
            if (known == null) {
                known = new Known();
            }
            double value = sample.f2;
            double deviation = value - known.mean;
            if (known.count >= warmUp) {
                double sigma = Math.sqrt(known.squares / (known.count - 1));
                if (Math.abs(deviation) > threshold * sigma) {
                    alerts.incrementAndGet();
                    out.collect(sample);
                }
            }
            known.count++;
            known.mean += deviation / known.count;
            known.squares += deviation * (value - known.mean);
            state.update(known);
            seen++;
            if (seen == samples / 2) {
                half.set(System.nanoTime());
            } else if (seen == samples) {
                end.set(System.nanoTime());
            }
        }
    }

    public static void main(String[] arguments) throws Exception {
        long samples = Long.parseLong(arguments[1]);
        StreamExecutionEnvironment env = StreamExecutionEnvironment.createLocalEnvironment(1);
        env.getConfig().enableObjectReuse();
        DataGeneratorSource<Tuple3<Integer, Long, Double>> source = new DataGeneratorSource<>(
                new Read(arguments[0]), samples, TypeInformation.of(new TypeHint<Tuple3<Integer, Long, Double>>() {}));
        env.fromSource(source, WatermarkStrategy.noWatermarks(), "samples")
                .keyBy(sample -> sample.f0, Types.INT)
                .process(new Judge(samples, Long.parseLong(arguments[2]), Double.parseDouble(arguments[3])))
                .sinkTo(new DiscardingSink<>());
        env.execute("peer");
        System.out.printf("{\"seconds\": %.6f, \"alerts\": %d}%n", (end.get() - half.get()) / 1e9, alerts.get());
    }
}
