//! What began before the sensor, or before the analyzer: told by iterators as /proc tells it.

#[path = "sensor_snapshot/held.rs"]
mod held;
#[path = "sensor_snapshot/processes.rs"]
mod processes;
#[path = "sensor_snapshot/selection.rs"]
mod selection;
#[path = "sensor_snapshot/stage.rs"]
mod stage;
#[path = "sensor_snapshot/trust.rs"]
mod trust;
