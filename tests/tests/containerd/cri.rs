//! A client of the Container Runtime Interface, version 1, as far as kubelet uses it for a pod's
//! sandbox: kubernetes/cri-api, pkg/apis/runtime/v1/api.proto. Field numbers are from there; fields
//! that no test needs are left out.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use prost::Message;
use tonic::client::Grpc;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};
use tonic_prost::ProstCodec;

/// A pod starts in a second; a minute means that something hangs.
const LIMIT: Duration = Duration::from_mins(1);

/// `PodSandboxMetadata`: what names a pod.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Metadata {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(string, tag = "2")]
    pub uid: String,
    #[prost(string, tag = "3")]
    pub namespace: String,
}

#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, prost::Enumeration)]
#[repr(i32)]
pub(crate) enum Protocol {
    Tcp = 0,
    Udp = 1,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct PortMapping {
    #[prost(enumeration = "Protocol", tag = "1")]
    pub protocol: i32,
    #[prost(int32, tag = "2")]
    pub container_port: i32,
    #[prost(int32, tag = "3")]
    pub host_port: i32,
    #[prost(string, tag = "4")]
    pub host_ip: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct DnsConfig {
    #[prost(string, repeated, tag = "1")]
    pub servers: Vec<String>,
    #[prost(string, repeated, tag = "2")]
    pub searches: Vec<String>,
    #[prost(string, repeated, tag = "3")]
    pub options: Vec<String>,
}

/// `LinuxPodSandboxConfig`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Linux {
    #[prost(string, tag = "1")]
    pub cgroup_parent: String,
}

/// `PodSandboxConfig`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct PodConfig {
    #[prost(message, optional, tag = "1")]
    pub metadata: Option<Metadata>,
    #[prost(message, optional, tag = "4")]
    pub dns: Option<DnsConfig>,
    #[prost(message, repeated, tag = "5")]
    pub port_mappings: Vec<PortMapping>,
    #[prost(map = "string, string", tag = "6")]
    pub labels: HashMap<String, String>,
    #[prost(map = "string, string", tag = "7")]
    pub annotations: HashMap<String, String>,
    #[prost(message, optional, tag = "8")]
    pub linux: Option<Linux>,
}

#[derive(Clone, PartialEq, Message)]
struct RunRequest {
    #[prost(message, optional, tag = "1")]
    config: Option<PodConfig>,
}

/// The answer to `RunPodSandbox`; the question of `StopPodSandbox` and `RemovePodSandbox`.
#[derive(Clone, PartialEq, Message)]
struct Id {
    #[prost(string, tag = "1")]
    id: String,
}

#[derive(Clone, PartialEq, Message)]
struct StatusRequest {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(bool, tag = "2")]
    verbose: bool,
}

#[derive(Clone, PartialEq, Message)]
struct StatusResponse {
    #[prost(message, optional, tag = "1")]
    status: Option<PodStatus>,
    #[prost(map = "string, string", tag = "2")]
    info: HashMap<String, String>,
}

#[derive(Clone, PartialEq, Message)]
struct PodStatus {
    #[prost(message, optional, tag = "5")]
    network: Option<NetworkStatus>,
}

#[derive(Clone, PartialEq, Message)]
struct NetworkStatus {
    #[prost(string, tag = "1")]
    ip: String,
    #[prost(message, repeated, tag = "2")]
    additional_ips: Vec<PodIp>,
}

#[derive(Clone, PartialEq, Message)]
struct PodIp {
    #[prost(string, tag = "1")]
    ip: String,
}

#[derive(Clone, PartialEq, Message)]
struct ListRequest {}

#[derive(Clone, PartialEq, Message)]
struct ListResponse {
    #[prost(message, repeated, tag = "1")]
    items: Vec<Id>,
}

#[derive(Clone, PartialEq, Message)]
struct Nothing {}

/// What a runtime says of a running pod.
#[derive(Clone, Debug)]
pub(crate) struct PodReport {
    /// Its addresses, the first first.
    pub ips: Vec<String>,
    /// The runtime's own JSON about it.
    pub info: serde_json::Value,
}

/// A connection to a runtime; threads may share it.
pub(crate) struct Cri {
    runtime: tokio::runtime::Runtime,
    channel: Channel,
}

impl Cri {
    /// Connects to the runtime that listens on `socket`.
    ///
    /// # Panics
    /// When nobody does.
    pub(crate) fn connect(socket: &Path) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("the system has an event queue");
        let endpoint = Endpoint::from_shared(format!("unix://{}", socket.display()))
            .expect("the path of a socket is an address")
            .timeout(LIMIT);
        let channel = runtime.block_on(endpoint.connect());
        let channel = channel.unwrap_or_else(|e| panic!("{}: {e}", socket.display()));
        Self { runtime, channel }
    }

    /// `RunPodSandbox`: the pod's id.
    ///
    /// # Errors
    /// The runtime's.
    pub(crate) fn run(&self, config: PodConfig) -> Result<String, Status> {
        let request = RunRequest {
            config: Some(config),
        };
        let answer: Id = self.call("RunPodSandbox", request)?;
        Ok(answer.id)
    }

    /// `StopPodSandbox`: the pod's processes and its network end.
    ///
    /// # Errors
    /// The runtime's.
    pub(crate) fn stop(&self, id: &str) -> Result<(), Status> {
        let _: Nothing = self.call("StopPodSandbox", Id { id: id.to_owned() })?;
        Ok(())
    }

    /// `RemovePodSandbox`: the pod is forgotten.
    ///
    /// # Errors
    /// The runtime's.
    pub(crate) fn remove(&self, id: &str) -> Result<(), Status> {
        let _: Nothing = self.call("RemovePodSandbox", Id { id: id.to_owned() })?;
        Ok(())
    }

    /// `PodSandboxStatus`, with what the runtime tells beyond the interface.
    ///
    /// # Errors
    /// The runtime's.
    pub(crate) fn report(&self, id: &str) -> Result<PodReport, Status> {
        let request = StatusRequest {
            id: id.to_owned(),
            verbose: true,
        };
        let mut answer: StatusResponse = self.call("PodSandboxStatus", request)?;
        let network = answer.status.and_then(|status| status.network);
        let network = network.unwrap_or_default();
        let more = network.additional_ips.into_iter().map(|more| more.ip);
        let info = answer.info.remove("info").unwrap_or_default();
        Ok(PodReport {
            ips: std::iter::once(network.ip).chain(more).collect(),
            info: serde_json::from_str(&info).unwrap_or_default(),
        })
    }

    /// `ListPodSandbox`: the ids of all pods, running or not.
    ///
    /// # Errors
    /// The runtime's.
    pub(crate) fn list(&self) -> Result<Vec<String>, Status> {
        let answer: ListResponse = self.call("ListPodSandbox", ListRequest {})?;
        Ok(answer.items.into_iter().map(|pod| pod.id).collect())
    }

    fn call<Q, A>(&self, method: &str, question: Q) -> Result<A, Status>
    where
        Q: Message + 'static,
        A: Message + Default + 'static,
    {
        let path = format!("/runtime.v1.RuntimeService/{method}");
        let path = path.parse().expect("a method's name is a path");
        let mut client = Grpc::new(self.channel.clone());
        self.runtime.block_on(async {
            let ready = client.ready().await;
            ready.map_err(|e| Status::unavailable(e.to_string()))?;
            let codec = ProstCodec::<Q, A>::default();
            let answer = client.unary(Request::new(question), path, codec).await?;
            Ok(answer.into_inner())
        })
    }
}
