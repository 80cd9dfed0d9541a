package sluice.tests;

import java.io.IOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collection;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import org.apache.kafka.common.config.ConfigDef;
import org.apache.kafka.connect.connector.Task;
import org.apache.kafka.connect.errors.ConnectException;
import org.apache.kafka.connect.errors.DataException;
import org.apache.kafka.connect.json.JsonConverter;
import org.apache.kafka.connect.sink.SinkConnector;
import org.apache.kafka.connect.sink.SinkRecord;
import org.apache.kafka.connect.sink.SinkTask;

/**
 * A sink connector that sends what the HTTP sink of Aiven sends, and fails as it fails; Aiven's own is not on Maven Central. The requests are
 * the same since both are made by the JDK's HTTP client. It reads the settings of that connector by their names: http.url,
 * http.authorization.type, http.headers.authorization, http.headers.content.type, http.timeout, batching.enabled, batch.max.size,
 * batch.prefix, batch.separator, batch.suffix, max.retries, retry.backoff.ms. An unknown setting of such a name is refused.
 */
public class JdkHttpSink extends SinkConnector {
    private static final List<String> NAMES = List.of("http.url", "http.authorization.type", "http.headers.authorization",
        "http.headers.content.type", "http.timeout", "batching.enabled", "batch.max.size", "batch.prefix", "batch.separator", "batch.suffix",
        "max.retries", "retry.backoff.ms");
    private static final List<String> PREFIXES = List.of("http.", "batch", "max.", "retry.");

    private Map<String, String> settings;

    @Override
    public void start(Map<String, String> given) {
        for (String name : given.keySet())
            if (PREFIXES.stream().anyMatch(name::startsWith) && !NAMES.contains(name))
                throw new ConnectException("Unknown setting " + name);
        settings = given;
    }

    @Override
    public Class<? extends Task> taskClass() {
        return Sender.class;
    }

    @Override
    public List<Map<String, String>> taskConfigs(int most) {
        return Collections.nCopies(most, settings);
    }

    @Override
    public void stop() {}

    @Override
    public ConfigDef config() {
        return new ConfigDef();
    }

    @Override
    public String version() {
        return "1";
    }

    public static class Sender extends SinkTask {
        private final JsonConverter json = new JsonConverter();
        private final HttpClient client = HttpClient.newHttpClient();
        private Map<String, String> settings;

        private String text(String name, String otherwise) {
            return settings.getOrDefault(name, otherwise);
        }

        private int number(String name, int otherwise) {
            return Integer.parseInt(text(name, String.valueOf(otherwise)));
        }

        @Override
        public void start(Map<String, String> given) {
            settings = given;
            json.configure(Map.of("schemas.enable", "false"), false);
        }

        private String value(SinkRecord record) {
            if (record.value() instanceof String) return (String) record.value();
            return new String(json.fromConnectData(record.topic(), record.valueSchema(), record.value()), StandardCharsets.UTF_8);
        }

        @Override
        public void put(Collection<SinkRecord> records) {
            for (SinkRecord record : records)
                if (record.value() == null) throw new DataException("Record value must not be null");
            boolean batching = Boolean.parseBoolean(text("batching.enabled", "false"));
            int most = batching ? number("batch.max.size", 500) : 1;
            List<String> batch = new ArrayList<>();
            for (SinkRecord record : records) {
                batch.add(value(record));
                if (batch.size() == most) send(batch, batching);
            }
            if (!batch.isEmpty()) send(batch, batching);
        }

        private void send(List<String> batch, boolean batching) {
            String body = String.join(text("batch.separator", "\n"), batch);
            if (batching) body = text("batch.prefix", "") + body + text("batch.suffix", "\n");
            batch.clear();
            for (int left = number("max.retries", 1); left >= 0; left--) {
                try {
                    HttpResponse<String> answer = client.send(request(body), HttpResponse.BodyHandlers.ofString());
                    if (answer.statusCode() < 400) return;
                } catch (IOException problem) {
                    // tried again, as after an error status
                } catch (InterruptedException problem) {
                    throw new ConnectException(problem);
                }
                pause();
            }
            throw new ConnectException("Sending failed and no retries remain, stopping");
        }

        private HttpRequest request(String body) {
            HttpRequest.Builder request = HttpRequest.newBuilder(URI.create(text("http.url", null)));
            request.timeout(Duration.ofSeconds(number("http.timeout", 30)));
            if (settings.containsKey("http.headers.content.type")) request.header("Content-Type", settings.get("http.headers.content.type"));
            if (text("http.authorization.type", "none").equals("static"))
                request.header("Authorization", settings.get("http.headers.authorization"));
            return request.POST(HttpRequest.BodyPublishers.ofString(body)).build();
        }

        private void pause() {
            try {
                Thread.sleep(number("retry.backoff.ms", 3000));
            } catch (InterruptedException problem) {
                throw new ConnectException(problem);
            }
        }

        @Override
        public void stop() {}

        @Override
        public String version() {
            return "1";
        }
    }
}
