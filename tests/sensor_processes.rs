//! What the sensor tells of processes, field by field against what the processes themselves say.

#[path = "sensor_processes/credentials.rs"]
mod credentials;
#[path = "sensor_processes/environment.rs"]
mod environment;
#[path = "sensor_processes/exec.rs"]
mod exec;
#[path = "sensor_processes/life.rs"]
mod life;
#[path = "sensor_processes/others.rs"]
mod others;
#[path = "sensor_processes/stage.rs"]
mod stage;
#[path = "sensor_processes/truth.rs"]
mod truth;
